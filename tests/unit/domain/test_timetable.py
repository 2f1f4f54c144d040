"""When schedules fire: windows, and what is made of ticks that were missed or overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.control_plane.domain import timetable
from sojourn.control_plane.domain.timetable import HELD, MOST_MISSED, CatchUp, Overlap, Plan, Standing, Timetable, plan

MIDNIGHT = datetime(2026, 3, 4, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
HALF = 2**30


def hourly(window: str | None = None, phase: int = 0) -> Timetable:
    return timetable.timetable("0 * * * *", "UTC", window, phase)


def stands(overlap: str = "allow", catch_up: str = "last", *, held: bool = False, lives: bool = False) -> Standing:
    return Standing(MIDNIGHT, Overlap(overlap), CatchUp(catch_up), held, lives)


def hours(planned: Plan) -> list[int]:
    """The hours, counted from midnight, whose ticks fire."""
    return [round((tick - MIDNIGHT) / HOUR) for tick in planned.fires]


# --- windows


@pytest.mark.parametrize(
    ("window", "after"),
    [("30m", 15 * MINUTE), ("1m", 30 * timedelta(seconds=1)), ("50%", 15 * MINUTE), ("1%", 30 * timedelta(seconds=1)),
     ("100%", 30 * MINUTE), ("24h", 30 * MINUTE)],
)  # fmt: skip
def test_a_tick_is_due_at_its_share_of_the_window(window: str, after: timedelta) -> None:
    """Half of the window here; it is a minute wide at least, and ends before the next tick."""
    assert hourly(window, HALF).due(MIDNIGHT) == MIDNIGHT + after


@pytest.mark.parametrize("text", ["", "m", "0m", "05m", "30s", "1441m", "25h", "0%", "101%", "-5m", "5 m", "1.5h", "٣m"])
def test_windows_that_are_none(text: str) -> None:
    with pytest.raises(timetable.BadWindow):
        timetable.window(text)


def test_without_a_window_a_tick_is_due_at_once() -> None:
    assert hourly(None, HALF).due(MIDNIGHT) == MIDNIGHT


def test_a_phase_is_a_schedules_own_and_stays() -> None:
    phases = {timetable.phase(b"secret", "env_1", str(key)) for key in range(100)}
    assert len(phases) == 100 and all(0 <= phase < 2**31 for phase in phases)
    assert timetable.phase(b"secret", "env_1", "7") in phases
    assert timetable.phase(b"secret", "env_2", "7") not in phases and timetable.phase(b"other", "env_1", "7") not in phases


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 1 * *"]),
    st.sampled_from(["1m", "45m", "24h", "1%", "100%"]),
    st.integers(0, 2**31 - 1),
    st.integers(1_770_000_000, 1_800_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
def test_a_tick_is_due_before_the_next_one_comes(expression: str, window: str, phase: int, moment: datetime) -> None:
    table = timetable.timetable(expression, "Europe/Berlin", window, phase)
    tick, following = table.upcoming(moment)[:2]
    assert tick <= table.due(tick) < following


# --- what fires


def test_one_that_is_not_due_stays_as_it_is() -> None:
    assert plan(hourly(), stands(), MIDNIGHT - MINUTE) == Plan((), MIDNIGHT, MIDNIGHT)
    due = MIDNIGHT + 15 * MINUTE
    assert plan(hourly("30m", HALF), stands(), due - MINUTE) == Plan((), MIDNIGHT, due)
    assert hours(plan(hourly("30m", HALF), stands(), due)) == [0]


def test_a_tick_that_is_none_any_more_is_passed_over() -> None:
    """The rules of a time zone changed meanwhile."""
    stands_between = Standing(MIDNIGHT + 10 * MINUTE, Overlap.ALLOW, CatchUp.LAST, held=False, lives=False)
    assert plan(hourly(), stands_between, MIDNIGHT + 20 * MINUTE) == Plan((), MIDNIGHT + HOUR, MIDNIGHT + HOUR)


@pytest.mark.parametrize("overlap", Overlap)
@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_tick_in_time_fires(overlap: str, catch_up: str) -> None:
    planned = plan(hourly(), stands(overlap, catch_up), MIDNIGHT + timedelta(seconds=2))
    assert planned == Plan([MIDNIGHT], MIDNIGHT + HOUR, MIDNIGHT + HOUR)


@pytest.mark.parametrize(
    ("overlap", "catch_up", "fires", "next_hour"),
    [
        ("allow", "none", [], 4),
        ("allow", "last", [3], 4),
        ("allow", "all", [0, 1, 2, 3], 4),
        ("skip", "none", [], 4),
        ("skip", "last", [3], 4),
        ("skip", "all", [3], 4),
        ("queue", "none", [], 4),
        ("queue", "last", [3], 4),
        ("queue", "all", [0], 1),
        ("replace", "all", [3], 4),
    ],
)
def test_ticks_that_were_missed(overlap: str, catch_up: str, fires: list[int], next_hour: int) -> None:
    planned = plan(hourly(), stands(overlap, catch_up), MIDNIGHT + 3 * HOUR + 10 * MINUTE)
    assert hours(planned) == fires
    assert planned.next_tick == MIDNIGHT + next_hour * HOUR == planned.due
    assert planned.held is (next_hour == 1)


def test_a_tick_that_is_a_little_late_is_not_missed() -> None:
    assert hours(plan(hourly(), stands(catch_up="none"), MIDNIGHT + 3 * HOUR + MINUTE)) == [3]


def test_the_newest_are_made_up_for() -> None:
    planned = plan(hourly(), stands(catch_up="all"), MIDNIGHT + 500 * HOUR)
    assert hours(planned) == list(range(501 - MOST_MISSED, 501))


@pytest.mark.parametrize(
    ("overlap", "fires", "next_hour"), [("allow", [0], 1), ("skip", [], 1), ("queue", [], 0), ("replace", [], 0)]
)
def test_ticks_while_a_run_lives(overlap: str, fires: list[int], next_hour: int) -> None:
    planned = plan(hourly(), stands(overlap, lives=True), MIDNIGHT)
    assert (hours(planned), planned.next_tick) == (fires, MIDNIGHT + next_hour * HOUR)
    assert planned.held is (next_hour == 0)


@pytest.mark.parametrize("waited", [timedelta(0), MINUTE, HOUR])
def test_what_is_held_is_looked_at_again(waited: timedelta) -> None:
    planned = plan(hourly(), stands("queue", held=True, lives=True), MIDNIGHT + waited)
    assert planned.due == MIDNIGHT + waited + HELD


@pytest.mark.parametrize("catch_up", CatchUp)
def test_what_was_held_fires_one_by_one(catch_up: str) -> None:
    planned = plan(hourly(), stands("queue", catch_up, held=True), MIDNIGHT + 2 * HOUR + 10 * MINUTE)
    assert (hours(planned), planned.next_tick, planned.held) == ([0], MIDNIGHT + HOUR, True)
    planned = plan(hourly(), stands("queue", catch_up, held=True), MIDNIGHT + 10 * MINUTE)
    assert (hours(planned), planned.next_tick, planned.held) == ([0], MIDNIGHT + HOUR, False)


@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("catch_up", CatchUp)
def test_what_was_held_fires_where_overlap_is_allowed_now(catch_up: str, lives: bool) -> None:
    planned = plan(hourly(), stands("allow", catch_up, held=True, lives=lives), MIDNIGHT + 2 * HOUR + 10 * MINUTE)
    assert (hours(planned), planned.next_tick, planned.held) == ([0, 1, 2], MIDNIGHT + 3 * HOUR, False)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_what_is_to_replace_a_run_is_the_newest(catch_up: str) -> None:
    planned = plan(hourly(), stands("replace", catch_up, held=True), MIDNIGHT + 2 * HOUR + 10 * MINUTE)
    assert (hours(planned), planned.next_tick, planned.held) == ([2], MIDNIGHT + 3 * HOUR, False)
