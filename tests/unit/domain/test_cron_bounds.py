"""B08: no expression makes the scheduler work for long. What is counted are calls of functions, not seconds.

No time limit is needed: an expression has 256 characters and five lists of at most 60 numbers, a search ends after eight
years, and only days that the expression names are looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.control_plane.domain import cron, timetable

#: Calls for one expression, or one tick. The most that were seen are 4,003 and 10,164, on the day that Samoa left out.
PARSING, NEXT = 10_000, 20_000
#: Months and days looked at for one tick: eight years, and what is left of the month it begins in.
MONTHS, DAYS = 9 * 12, 9 * 366
#: Ticks looked at for each of the newest within ten years: five in reach, and what lies between is halved.
NEWEST = 30

ZOO = (
    "0 0 29 2 *", "0 0 30 2 1", "0 0 31 2 *", "0 0 30,31 2 *", "0 0 31 2,4,6,9,11 *", "59 23 31 12 *", "* * 29 2 *",
    "* * * * *", "* * * * * *", "*/0 * * * *", "59-0 * * * *", "* * * * L#5", "* * * * 5#6", "0 0 L * *", "0 0 L 2 *",
    "0 0 * * 5L", "0 0 L,29 2 0L,1L,2L,3L,4L,5L,6L", "@every 1s", "H H * * *", "? ? ? ? ?", "0 0 W * *",
    "*/1," * 60 + "* * * * *", ("0-59," * 49)[:-1] + " * * * *", ",".join(["*"] * 120) + " * * * *",
    ",".join(["0"] * 5_000) + " * * * *", "0 0 " + "1," * 5_000 + "1 * *", "9" * 10_000, " " * 10_000, "*" * 256,
    "\x00 * * * *",
    "１ ２ ３ ４ ５", "² * * * *", "0 0 1-31/99 * *", "-1 * * * *", "1e1 * * * *", "0x1 * * * *", "1_0 * * * *",
)  # fmt: skip
_FIELD = st.from_regex(r"(\*|L|[0-7]L|[0-9]{1,2}(-[0-9]{1,2})?|(jan|feb|sun|SAT))(/[0-9]{1,2})?", fullmatch=True)
_LIST = st.lists(_FIELD, min_size=1, max_size=6).map(",".join)
_WRITTEN = st.lists(_LIST, min_size=5, max_size=5).map(" ".join)
#: Each field within its range, so that most are taken; often with days that are rare.
_TAKEN = st.tuples(
    st.sampled_from(["*", "0", "*/1", "0-59", "59"]),
    st.sampled_from(["*", "0", "2", "*/2", "0-23"]),
    st.sampled_from(["*", "29", "30", "31", "L", "1-31", "29,L"]),
    st.sampled_from(["*", "2", "2,4", "feb-jun", "12"]),
    st.sampled_from(["*", "*", "0", "5L", "1-5", "0L,6L"]),
).map(" ".join)
_PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)
_ANYTHING = st.text(max_size=300) | _PRINTABLE | _WRITTEN | _TAKEN
_ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata"]
)
#: From 1902 to 2100, often near a change of clocks.
_MOMENTS = st.integers(-2_145_916_800, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)) | (
    st.sampled_from(["2011-12-29T10:00", "2026-03-29T01:00", "2026-11-01T05:59", "2096-02-29T23:59"]).map(
        lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC)
    )
)


def calls(function: Callable[..., Any], *given: Any) -> tuple[int, Any]:
    """How many calls a call makes in all, nothing of it remembered from before; and what it returns, or refuses with."""
    cron.parse.cache_clear()
    cron._days_of.cache_clear()
    count, result = 0, None

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        result = function(*given)
    except cron.BadCron as error:
        result = error
    finally:
        sys.setprofile(None)
    return count, result


def noted(function: Callable[..., Any], into: list[Any]) -> Callable[..., Any]:
    """The function, of which each call is noted."""

    def called(*given: Any) -> Any:
        into.append(given)
        return function(*given)

    return called


@settings(max_examples=500, deadline=None)
@given(_ANYTHING)
def test_b08_whatever_is_written_is_read_or_refused_after_little_work(text: str) -> None:
    count, result = calls(cron.parse, text)
    assert isinstance(result, cron.Expression | cron.BadCron)
    assert count < PARSING


@pytest.mark.parametrize("text", ZOO, ids=lambda text: repr(text[:20]))
def test_b08_the_zoo(text: str) -> None:
    count, result = calls(cron.parse, text)
    assert count < PARSING
    if isinstance(result, cron.Expression):
        assert calls(cron.next_after, result, ZoneInfo("Europe/Berlin"), datetime(2097, 3, 1, tzinfo=UTC))[0] < NEXT


@settings(max_examples=200, deadline=None)
@given(_TAKEN, _ZONES, _MOMENTS)
def test_b08_the_next_tick_is_found_after_little_work(text: str, zone: str, moment: datetime) -> None:
    parsed = calls(cron.parse, text)[1]
    if isinstance(parsed, cron.Expression):
        assert calls(cron.next_after, parsed, ZoneInfo(zone), moment)[0] < NEXT


@settings(max_examples=200, deadline=None)
@given(_TAKEN, _MOMENTS)
def test_b08_a_search_looks_at_no_more_than_eight_years(text: str, moment: datetime) -> None:
    parsed = calls(cron.parse, text)[1]
    if not isinstance(parsed, cron.Expression):
        return
    with pytest.MonkeyPatch.context() as patch:
        months: list[Any] = []
        days: list[Any] = []
        days_of = cron._days_of
        patch.setattr(cron, "_days_of", noted(days_of, months))
        patch.setattr(cron, "date", noted(date, days))
        assert cron.next_after(parsed, ZoneInfo("UTC"), moment) is not None, "what was taken comes"
    assert len(months) <= MONTHS and len(days) <= DAYS


@settings(max_examples=25, deadline=None)
@given(_TAKEN, _ZONES, st.integers(0, 3_660))
def test_b08_the_newest_ticks_are_found_without_looking_at_every_one(text: str, zone: str, days: int) -> None:
    parsed = calls(cron.parse, text)[1]
    if not isinstance(parsed, cron.Expression):
        return
    until = datetime(2026, 11, 1, 6, tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patch:
        looked: list[Any] = []
        patch.setattr(cron, "next_after", noted(cron.next_after, looked))
        found = cron.newest(parsed, ZoneInfo(zone), until - timedelta(days=days), until, timetable.MOST_MISSED + 1)
    assert len(found) <= timetable.MOST_MISSED + 1 and len(looked) <= NEWEST * (len(found) + 1)
    assert found == sorted(set(found)) and all(until - timedelta(days=days) <= tick <= until for tick in found)


@given(
    st.text(max_size=100)
    | st.sampled_from(["../../etc/passwd", "/etc/passwd", "UTC/../UTC", "Europe/Berlin\x00", "localtime"])
)
def test_b08_a_zone_is_a_name_and_no_path(name: str) -> None:
    """Whatever is no name of a zone is refused before any file is looked for."""
    if name in cron.zones():
        assert cron.zone(name).key == name
    else:
        with pytest.raises(cron.BadZone):
            cron.zone(name)
