"""Debouncing: which trigger makes a run, which joins one, and when that starts then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.domain.debounce import Begin, Debounce, Held, Join, decide, name_of

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SECONDS = st.integers(1, 600).map(lambda n: timedelta(seconds=n))
MOMENTS = st.integers(0, 3_600_000).map(lambda n: NOW + timedelta(milliseconds=n))


def held(first: float, start: float, is_open: bool = True) -> Held:
    return Held("run_1", NOW + timedelta(seconds=first), NOW + timedelta(seconds=start), is_open)


def test_the_first_trigger_makes_a_run_that_waits() -> None:
    assert decide(Debounce("k", timedelta(seconds=5)), None, NOW) == Begin(NOW + timedelta(seconds=5))


def test_a_run_that_waits_no_more_is_left_alone() -> None:
    wish = Debounce("k", timedelta(seconds=5))
    assert decide(wish, held(-9, -1, is_open=False), NOW) == Begin(NOW + timedelta(seconds=5))


def test_a_trigger_puts_the_start_off_in_whole_seconds() -> None:
    wish = Debounce("k", timedelta(seconds=5), trailing=True)
    soon = NOW + timedelta(milliseconds=1_200)
    assert decide(wish, held(0, 5), soon) == Join("run_1", NOW + timedelta(seconds=7), replaces=True)


def test_the_start_is_never_brought_forward() -> None:
    wish = Debounce("k", timedelta(seconds=5))
    assert decide(wish, held(0, 60), NOW) == Join("run_1", NOW + timedelta(seconds=60), replaces=False)


def test_the_start_is_never_put_off_beyond_the_longest_delay() -> None:
    wish = Debounce("k", timedelta(seconds=5), max_delay=timedelta(seconds=8))
    later = NOW + timedelta(seconds=6)
    assert decide(wish, held(0, 7), later) == Join("run_1", NOW + timedelta(seconds=8), replaces=False)
    assert decide(wish, held(0, 20), later) == Join("run_1", NOW + timedelta(seconds=20), replaces=False)


@given(SECONDS, SECONDS | st.none(), st.booleans(), MOMENTS, MOMENTS, MOMENTS)
def test_a_run_that_is_joined_starts_late_enough_and_not_too_late(
    delay: timedelta, longest: timedelta | None, trailing: bool, first: datetime, start: datetime, now: datetime
) -> None:
    there = Held("run_1", first, start, is_open=True)
    decision = decide(Debounce("k", delay, trailing, longest), there, now)
    assert isinstance(decision, Join) and decision.replaces is trailing
    assert decision.start_at >= start
    bound = None if longest is None else max(first + longest, start)
    assert decision.start_at >= min(now + delay, bound or now + delay)
    assert decision.start_at < max(now + delay + timedelta(seconds=1), start + timedelta(microseconds=1))
    assert bound is None or decision.start_at <= bound


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_keys_of_two_tasks_never_meet(one: str, key: str, other: str, another: str) -> None:
    try:
        same = name_of(one, key) == name_of(other, another)
    except UnicodeEncodeError:
        return
    assert same is ((one, key) == (other, another))
