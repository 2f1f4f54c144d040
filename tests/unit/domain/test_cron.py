"""Cron expressions: what is refused, what the clocks of five zones do to them, and no tick lost or doubled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.control_plane.domain import cron

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")


def following(expression: str, zone: str, after: str, count: int = 4) -> list[str]:
    """The next ticks in that zone's own time, written as `03-29 02:30 +1`, the offset in hours."""
    where = cron.zone(zone)
    found = cron.ticks(cron.parse(expression), where, datetime.fromisoformat(after).replace(tzinfo=where))
    return [_written(tick.astimezone(where)) for tick in islice(found, count)]


def _written(tick: datetime) -> str:
    return f"{tick:%m-%d %H:%M} {(tick.utcoffset() or timedelta(0)) / timedelta(hours=1):+g}"


# Clocks change at: Berlin 03-29 02:00 (+1 h) and 10-25 03:00; New York 03-08 02:00 and 11-01 02:00;
# Lord Howe 04-05 02:00 (-30 min) and 10-04 02:00 (+30 min).
TABLE = [
    # an hour that does not exist moves forward
    ("30 2 * * *", "Europe/Berlin", "2026-03-28 03:00", ["03-29 03:30 +2", "03-30 02:30 +2"]),
    ("30 2 * * *", "America/New_York", "2026-03-07 03:00", ["03-08 03:30 -4", "03-09 02:30 -4"]),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 03:00", ["10-04 02:45 +11", "10-05 02:15 +11"]),
    ("0 2,3 * * *", "Europe/Berlin", "2026-03-29 00:00", ["03-29 03:00 +2", "03-30 02:00 +2"]),
    ("15,45 2 * * *", "Australia/Lord_Howe", "2026-10-04 00:00", ["10-04 02:45 +11", "10-05 02:15 +11"]),
    ("25,35 2 * * *", "Australia/Lord_Howe", "2026-10-04 00:00", ["10-04 02:35 +11", "10-04 02:55 +11"]),
    ("30 * * * *", "Europe/Berlin", "2026-03-29 01:00", ["03-29 01:30 +1", "03-29 03:30 +2", "03-29 04:30 +2"]),
    ("0 */2 * * *", "Europe/Berlin", "2026-03-29 00:00", ["03-29 03:00 +2", "03-29 04:00 +2"]),
    # a fixed hour that comes twice fires once
    ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:00", ["10-25 02:30 +2", "10-26 02:30 +1"]),
    ("30 1 * * *", "America/New_York", "2026-11-01 00:00", ["11-01 01:30 -4", "11-02 01:30 -5"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05 00:00", ["04-05 01:45 +11", "04-06 01:45 +10.5"]),
    ("0 1-3 * * *", "Europe/Berlin", "2026-10-25 00:00", ["10-25 01:00 +2", "10-25 02:00 +2", "10-25 03:00 +1"]),
    ("*/30 2 * * *", "Europe/Berlin", "2026-10-25 00:00", ["10-25 02:00 +2", "10-25 02:30 +2", "10-26 02:00 +1"]),
    # `*` hours fire every time
    ("30 * * * *", "Europe/Berlin", "2026-10-25 02:00", ["10-25 02:30 +2", "10-25 02:30 +1", "10-25 03:30 +1"]),
    ("30 0-23 * * *", "Europe/Berlin", "2026-10-25 02:00", ["10-25 02:30 +2", "10-25 02:30 +1"]),
    ("0 3,* * * *", "Europe/Berlin", "2026-10-25 02:00", ["10-25 02:00 +1", "10-25 03:00 +1"]),
    # and hours of which some are left out are fixed ones
    ("0 0-22 * * *", "Europe/Berlin", "2026-10-25 01:30", ["10-25 02:00 +2", "10-25 03:00 +1"]),
    ("0 0-23/2 * * *", "Europe/Berlin", "2026-10-25 01:30", ["10-25 02:00 +2", "10-25 04:00 +1"]),
    ("0 */2 * * *", "Europe/Berlin", "2026-10-25 01:30", ["10-25 02:00 +2", "10-25 02:00 +1", "10-25 04:00 +1"]),
    ("30 * * * *", "America/New_York", "2026-11-01 01:00", ["11-01 01:30 -4", "11-01 01:30 -5", "11-01 02:30 -5"]),
    ("*/30 * * * *", "Australia/Lord_Howe", "2026-04-05 01:15", ["04-05 01:30 +11", "04-05 01:30 +10.5"]),
    ("45 * * * *", "Australia/Lord_Howe", "2026-04-05 01:00", ["04-05 01:45 +11", "04-05 01:45 +10.5"]),
    # clocks that never change
    ("0 9 * * mon-fri", "Asia/Kolkata", "2026-03-27 10:00", ["03-30 09:00 +5.5", "03-31 09:00 +5.5"]),
    ("30 2 * * *", "UTC", "2026-10-24 12:00", ["10-25 02:30 +0", "10-26 02:30 +0"]),
    # `*` among others is all there is
    ("*,5 * * * *", "UTC", "2026-01-01 02:04", ["01-01 02:05 +0", "01-01 02:06 +0"]),
    ("0 *,3 * * *", "UTC", "2026-01-01 02:30", ["01-01 03:00 +0", "01-01 04:00 +0"]),
    ("0 0 13,* * *", "UTC", "2026-01-01 12:00", ["01-02 00:00 +0", "01-03 00:00 +0"]),
    ("0 0 1 *,3 *", "UTC", "2026-01-01 12:00", ["02-01 00:00 +0", "03-01 00:00 +0"]),
    ("0 0 * * mon,*", "UTC", "2026-01-01 12:00", ["01-02 00:00 +0", "01-03 00:00 +0"]),
    # days
    ("0 0 L * *", "UTC", "2026-01-15", ["01-31 00:00 +0", "02-28 00:00 +0", "03-31 00:00 +0"]),
    ("0 0 * * 5L", "UTC", "2026-01-15", ["01-30 00:00 +0", "02-27 00:00 +0", "03-27 00:00 +0"]),
    ("0 0 * * 7L", "UTC", "2026-01-15", ["01-25 00:00 +0", "02-22 00:00 +0"]),
    ("0 0 * * 1,5L", "UTC", "2026-01-26 12:00", ["01-30 00:00 +0", "02-02 00:00 +0"]),
    ("0 0 13 * 5", "UTC", "2026-03-07", ["03-13 00:00 +0", "03-20 00:00 +0"]),
    ("0 0 29 2 *", "UTC", "2026-01-01", ["02-29 00:00 +0", "02-29 00:00 +0"]),
    ("0 0 * jan,DEC sun", "UTC", "2026-01-25 01:00", ["12-06 00:00 +0", "12-13 00:00 +0"]),
    ("0 0 * * 5-7", "UTC", "2026-01-01", ["01-02 00:00 +0", "01-03 00:00 +0", "01-04 00:00 +0"]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "zone", "after", "expected"), TABLE)
def test_the_table(expression: str, zone: str, after: str, expected: list[str]) -> None:
    assert following(expression, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "", "* * * *", "* * * * * *", "@daily", "60 * * * *", "-1 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 32 * *",
        "0 0 * 13 *", "0 0 * * 8", "*/0 * * * *", "*/60 * * * *", "59-0 * * * *", "0 0 * * fri-mon", "1-2-3 * * * *",
        "1,,2 * * * *", ", * * * *", "*5 * * * *", "1*/2 * * * *", "L * * * *", "0 0 * * L", "0 0 * * L5", "0 0 * * 8L",
        "0 0 5L * *", "0 0 ? * *", "0 0 1W * *", "0 0 * * 1#2", "H * * * *", "R * * * *", "0 0 * * foo", "٣ * * * *",
        "0 0 31 2 *", "0 0 31 2,4,6 *", "5/ * * * *", "/5 * * * *", ",".join(["1"] * 5_000) + " * * * *",
    ],
)  # fmt: skip
def test_what_is_refused(expression: str) -> None:
    with pytest.raises(cron.BadCron):
        cron.parse(expression)


@pytest.mark.parametrize(
    "name", ["", "Mars/Base", "../../etc/passwd", "/etc/localtime", "utc", "localtime", "Europe", "CEST", "\x00"]
)
def test_zones_that_are_none(name: str) -> None:
    with pytest.raises(cron.BadZone):
        cron.zone(name)


def test_zones_begin_with_utc() -> None:
    names = cron.zones()
    assert names[0] == "UTC" and names.count("UTC") == 1 and names[1:] == sorted(names[1:])
    assert {*ZONES} <= {*names} and "Factory" not in names


def test_the_newest_ticks_of_a_long_time() -> None:
    expression, where = cron.parse("*/5 * * * *"), cron.zone("UTC")
    since, until = datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
    found = cron.newest(expression, where, since, until, 100)
    assert len(found) == 100 and found[-1] == until and found[0] == until - 99 * timedelta(minutes=5)
    assert cron.newest(expression, where, until, until, 100) == [until]
    assert cron.newest(expression, where, until + timedelta(seconds=1), until + timedelta(seconds=2), 100) == []
    assert cron.newest(cron.parse("0 0 29 2 *"), where, since, until, 1) == [datetime(2024, 2, 29, tzinfo=UTC)]


# --- against an oracle that looks at every minute


def named(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, last = (low, high) if span == "*" else (int(span.split("-")[0]), int(span.split("-")[-1]))
        found |= set(range(first, last + 1, int(step or 1)))
    return found


#: No clock is further from UTC, or changes by more.
_WIDEST = timedelta(hours=27)


def oracle(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """Every minute of the clock on the wall, one by one, taken to the moments it means."""
    minute, hour, day, month, weekday = expression.split()
    minutes, hours, days, months = named(minute, 0, 59), named(hour, 0, 23), named(day, 1, 31), named(month, 1, 12)
    weekdays = {number % 7 for number in named(weekday, 0, 7)}
    found: set[datetime] = set()
    wall, last = ((moment + away).replace(tzinfo=None) for moment, away in ((begin, -_WIDEST), (end, _WIDEST)))
    while wall < last:
        wall += timedelta(minutes=1)
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            continue
        on_day, on_weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
        either = on_day or on_weekday if "*" not in (day, weekday) else on_day and on_weekday
        if either:
            first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            found |= {first, second} if second > first and hour.startswith("*") else {first}
    return sorted(tick for tick in found if begin < tick <= end)


_MINUTES = st.sampled_from(["*", "*/7", "0", "30", "25,35", "10-20/5", "59", "0,15,45"])
_HOURS = st.sampled_from(["*", "*/2", "2", "1-3", "0", "23", "1,2", "0-2/2"])
_DAYS = st.sampled_from(["*", "*", "*", "1-15", "29"])
_WEEKDAYS = st.sampled_from(["*", "*", "*", "0", "1-5", "7"])
#: Since 2000.
_MOMENTS = st.integers(946_684_800, 2_840_140_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
_EXPRESSIONS = st.builds(lambda *fields: " ".join((*fields[:3], "*", fields[3])), _MINUTES, _HOURS, _DAYS, _WEEKDAYS)
#: Around changes of clocks, among them the day that Samoa left out and one that goes forward before midnight.
_AROUND = st.sampled_from(
    [
        ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"), ("America/New_York", "2026-03-08"),
        ("America/New_York", "2026-11-01"), ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"),
        ("Asia/Kolkata", "2026-03-29"), ("UTC", "2026-10-25"), ("Pacific/Apia", "2011-12-30"),
        ("America/Nuuk", "2024-03-30"), ("America/Havana", "2026-11-01"), ("Africa/Casablanca", "2026-02-15"),
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(_EXPRESSIONS, _AROUND, st.integers(-30 * 60, 30 * 60))
def test_no_tick_is_lost_doubled_or_early(expression: str, around: tuple[str, str], minutes: int) -> None:
    name, day = around
    where = cron.zone(name)
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(minutes=minutes)
    end = begin + timedelta(days=1)
    found = []
    for tick in cron.ticks(cron.parse(expression), where, begin):
        if tick > end:
            break
        found.append(tick)
    assert found == oracle(expression, where, begin, end)
    assert all(earlier < later for earlier, later in zip([begin, *found], found, strict=False))


@settings(max_examples=150, deadline=None)
@given(_EXPRESSIONS, _MOMENTS)
def test_where_no_clock_changes_croniter_agrees(expression: str, begin: datetime) -> None:
    found = islice(cron.ticks(cron.parse(expression), cron.zone("UTC"), begin), 5)
    theirs = croniter(expression, begin)
    assert list(found) == [theirs.get_next(datetime) for _ in range(5)]


@settings(max_examples=100, deadline=None)
@given(_EXPRESSIONS, st.sampled_from(ZONES), _MOMENTS)
def test_the_next_is_later_and_the_same_from_anywhere_before(expression: str, zone: str, moment: datetime) -> None:
    parsed, where = cron.parse(expression), cron.zone(zone)
    tick = cron.next_after(parsed, where, moment)
    assert tick is not None and tick > moment and (tick.second, tick.microsecond) == (0, 0)
    assert cron.next_after(parsed, where, tick - timedelta(microseconds=1)) == tick
    assert cron.next_after(parsed, where, moment + (tick - moment) / 2) == tick


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[0-9*/,\-lLa-c ]{0,30}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = cron.parse(text)
    except cron.BadCron:
        return
    assert cron.next_after(parsed, cron.zone("Europe/Berlin"), datetime(2026, 1, 1, tzinfo=UTC)) is not None
