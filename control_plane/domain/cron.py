"""Cron expressions of five fields, and the moments they mean in a time zone. Pure.

A clock's change is decided here. A wall time that comes twice counts once where the hour is fixed, and both times where
the hour field begins with `*` or names every hour; one that does not exist moves forward by as much as the clock does. Two
wall times that come to the same moment are one tick. croniter reads the fields; what it takes beyond the wire's grammar is
refused before.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter

MAX_CHARS = 256
#: A leap day may be eight years away; what does not come by then does not come.
_LOOK_AHEAD_YEARS = 8
#: No clock changes by more at once. (A day was left out in Samoa.)
_FAR = timedelta(hours=26)
#: Looking for the newest tick goes back so far at first, and further while there is none.
_LOOK_BACK = tuple(timedelta(days=days) for days in (1 / 24, 1, 32, 366))
_MINUTE, _INSTANT = timedelta(minutes=1), timedelta(microseconds=1)
_NOT_ZONES = frozenset({"Factory", "localtime"})

_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {
    3: {name: number for number, name in enumerate(_MONTHS, 1)},
    4: {name: number for number, name in enumerate(_DAYS)},
}
_PART = re.compile(r"(?P<all>\*)|(?P<low>[0-9]{1,2}|[a-z]{3})(?:-(?P<high>[0-9]{1,2}|[a-z]{3}))?")
_LAST_DAY, _LAST_WEEKDAY = "l", re.compile(r"[0-7]l")


class BadCron(ValueError):
    """The expression cannot be used; the message says which part of it."""


class BadZone(ValueError):
    """There is no such time zone."""


@dataclass(frozen=True, slots=True)
class Expression:
    """When, by the clock on the wall. `days` and `weekdays` are None where any day will do; Sunday is 0."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int] | None
    last_day: bool
    months: frozenset[int]
    weekdays: frozenset[int] | None
    last_weekdays: frozenset[int]
    every_hour: bool


@lru_cache(maxsize=10_000)
def parse(text: str) -> Expression:
    """The expression, checked. `BadCron` also for one that never comes, like the 31st of February."""
    if len(text) > MAX_CHARS:
        raise BadCron(f"an expression has {MAX_CHARS} characters at most")
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        raise BadCron(f'write five fields, as in "0 8 * * 1-5": {", ".join(_FIELDS)}')
    last_weekdays, fields[4] = _last_weekdays(fields[4])
    plain = [_plain(field, place) for place, field in enumerate(fields)]
    try:
        (minutes, hours, days, months, weekdays), _ = croniter.expand(" ".join(plain))
    except (ValueError, KeyError) as error:
        raise BadCron(f"it cannot be read: {str(error)[:200]}") from None
    if not fields[4]:
        weekdays = []
    found = Expression(
        text=" ".join(text.split()),
        minutes=_numbers(minutes, 0),
        hours=_numbers(hours, 1),
        days=None if "*" in days else frozenset(day for day in days if isinstance(day, int)),
        last_day=_LAST_DAY in days,
        months=frozenset(_numbers(months, 3)),
        weekdays=None if "*" in weekdays else frozenset(int(day) % 7 for day in weekdays),
        last_weekdays=last_weekdays,
        every_hour=fields[1].startswith("*") or "*" in hours,
    )
    if next(_walls(found, datetime(2001, 1, 1)), None) is None:  # noqa: DTZ001 - by the clock on the wall
        raise BadCron("there is no such day")
    return found


def zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name. `BadZone`."""
    if name not in _zones():
        raise BadZone('there is no such time zone: write it like "Europe/Berlin"')
    return ZoneInfo(name)


def zones() -> list[str]:
    """The names of every time zone, UTC first."""
    return ["UTC", *sorted(_zones() - {"UTC"})]


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NOT_ZONES) | {"UTC"}


# --- moments


def next_after(expression: Expression, where: ZoneInfo, moment: datetime) -> datetime | None:
    """The first tick after a moment, in UTC; None where there is none in reach."""
    around = [_offset(where, moment + away) for away in (-_FAR, timedelta(0), _FAR)]
    # Before this wall time everything is over, whatever the clock did or will do nearby.
    begin = moment.astimezone(UTC).replace(tzinfo=None) + min(around)
    best: datetime | None = None
    most = timedelta(0)
    for wall in _walls(expression, begin):
        if best is not None and wall - most > best.replace(tzinfo=None):
            break
        for tick in _moments(expression, where, wall):
            if tick > moment and (best is None or tick < best):
                best = tick
                offsets = [_offset(where, tick + away) for away in (-_FAR, _FAR)]
                most = max(offsets)
                if most == min(offsets):
                    return best
    return best


def ticks(expression: Expression, where: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Every tick after a moment."""
    found = next_after(expression, where, after)
    while found is not None:
        yield found
        found = next_after(expression, where, found)


def newest(expression: Expression, where: ZoneInfo, since: datetime, until: datetime, most: int) -> list[datetime]:
    """The newest ticks from `since` to `until`, both included: `most` of them, the oldest first."""
    found: list[datetime] = []
    while len(found) < most:
        tick = _newest(expression, where, since - _INSTANT, until)
        if tick is None:
            break
        found.append(tick)
        until = tick - _INSTANT
    return found[::-1]


def _newest(expression: Expression, where: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The newest tick after a moment, until another: the time between is halved, since there may be many ticks in it."""
    latest = None
    for back in (*_LOOK_BACK, until - after):
        begin = max(after, until - back)
        latest = next_after(expression, where, begin)
        if latest is not None and latest <= until:
            break
        if begin == after:
            return None
    if latest is None:
        return None
    silent = until
    while silent - latest >= _MINUTE:
        middle = latest + (silent - latest) / 2
        tick = next_after(expression, where, middle)
        if tick is None or tick > until:
            silent = middle
        else:
            latest = tick
    return latest


def _moments(expression: Expression, where: ZoneInfo, wall: datetime) -> tuple[datetime, ...]:
    """What a wall time comes to: a moment, or two where it comes twice and the hour is not fixed."""
    first = wall.replace(tzinfo=where).astimezone(UTC)
    if not expression.every_hour:
        return (first,)
    second = wall.replace(tzinfo=where, fold=1).astimezone(UTC)
    return (first, second) if second > first else (first,)


def _offset(where: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(where).utcoffset() or timedelta(0)


# --- the clock on the wall


def _walls(expression: Expression, begin: datetime) -> Iterator[datetime]:
    """Wall times from a moment on that the expression names, in order."""
    if begin.second or begin.microsecond:
        begin = begin.replace(second=0, microsecond=0) + timedelta(minutes=1)
    first = begin.date()
    for day in _days(expression, first):
        hours = [hour for hour in expression.hours if day > first or hour >= begin.hour]
        for hour in hours:
            for minute in expression.minutes:
                if day > first or hour > begin.hour or minute >= begin.minute:
                    yield datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001


def _days(expression: Expression, first: date) -> Iterator[date]:
    for year in range(first.year, min(first.year + _LOOK_AHEAD_YEARS, 9_998) + 1):
        for month in sorted(expression.months):
            if (year, month) < (first.year, first.month):
                continue
            for day in _days_of(expression, year, month):
                found = date(year, month, day)
                if found >= first:
                    yield found


@lru_cache(maxsize=10_000)
def _days_of(expression: Expression, year: int, month: int) -> tuple[int, ...]:
    """The days of a month: where both kinds of days are named, those that are of either."""
    weekday_of_first, length = monthrange(year, month)
    found = []
    for day in range(1, length + 1):
        weekday = (weekday_of_first + day) % 7  # Monday is 0 there, Sunday is 0 here
        by_day = expression.days is not None and (day in expression.days or (expression.last_day and day == length))
        by_weekday = expression.weekdays is not None and (
            weekday in expression.weekdays or (weekday in expression.last_weekdays and day > length - 7)
        )
        if by_day or by_weekday or (expression.days is None and expression.weekdays is None):
            found.append(day)
    return tuple(found)


# --- the wire's grammar


def _last_weekdays(field: str) -> tuple[frozenset[int], str]:
    """The weekdays of which the month's last one is meant (`5L`), and what else the field names."""
    parts = field.split(",")
    found = [int(part[0]) % 7 for part in parts if _LAST_WEEKDAY.fullmatch(part)]
    return frozenset(found), ",".join(part for part in parts if not _LAST_WEEKDAY.fullmatch(part))


def _plain(field: str, place: int) -> str:
    """A field in croniter's words. `BadCron` names the field."""
    return ",".join(_part(part, place) for part in field.split(",")) if field else "*"


def _part(part: str, place: int) -> str:
    if place == 2 and part == _LAST_DAY:
        return part
    span, slash, step = part.partition("/")
    found = _PART.fullmatch(span)
    low, high = _RANGES[place]
    if found is None or (slash and not (step.isascii() and step.isdigit() and len(step) <= 2 and 1 <= int(step) <= high)):
        raise _bad(part, place)
    if not found["all"]:
        low = _number(found["low"], place)
        high = _number(found["high"], place) if found["high"] else (high if slash else low)
        if low > high:
            raise _bad(part, place)
        span = f"{low}-{high}" if low < high else str(low)
        if low == high:
            return span
    return span + slash + step


def _number(text: str, place: int) -> int:
    low, high = _RANGES[place]
    number = _NAMES.get(place, {}).get(text, int(text) if text.isdigit() else -1)
    if not low <= number <= high:
        raise _bad(text, place)
    return number


def _bad(part: str, place: int) -> BadCron:
    low, high = _RANGES[place]
    return BadCron(f"{part[:20]!r} is no {_FIELDS[place]}: they go from {low} to {high}")


def _numbers(values: list[int | str], place: int) -> tuple[int, ...]:
    low, high = _RANGES[place]
    return tuple(range(low, high + 1)) if "*" in values else tuple(sorted(int(value) for value in values))
