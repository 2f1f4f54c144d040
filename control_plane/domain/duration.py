"""Durations and dates as people write them: "1h30m", "10m", an ISO date. Pure.

A duration is one or more of `<whole number><unit>`, unit one of w d hr h m s, at most 100 characters.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

MAX_CHARS = 100
#: Seconds. What lies further ahead is a mistake.
LONGEST = 10 * 366 * 86_400

_PART = re.compile(r"([0-9]{1,15})(w|d|hr|h|m|s)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
#: A date of ISO 8601, in its long or its short form: digits alone are a day, and never anything else.
_ISO = re.compile(r"[0-9]{4}(?:-[0-9]{2}-[0-9]{2}|[0-9]{4}|-W[0-9]{2}-[0-9]|W[0-9]{3})(?:[Tt ][0-9:., +Zz-]+)?")
#: Digits that are no day.
_MILLISECONDS = re.compile(r"(?![0-9]{8}$)[0-9]{1,100}")
#: Ms since the epoch that can be meant: since 2001, with 13 digits at most (2286). Fewer are seconds, or a day written
#: without dashes; more are a day and a time, or finer than ms.
_FIRST_MS, _END_MS = 978_307_200_000, 10**13
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}


class BadTime(ValueError):
    """The text is neither a duration nor a date that can be used; the message says how to write one."""


def seconds(text: str) -> int:
    """Seconds of a duration. `BadTime` for anything else, and for one beyond ten years."""
    if len(text) > MAX_CHARS or not _WHOLE.fullmatch(text):
        raise BadTime('write a duration like "30s", "10m" or "1h30m"')
    total = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if total > LONGEST:
        raise BadTime("a duration is ten years at most")
    return total


def date(text: str) -> datetime:
    """An ISO date as an aware time in UTC; one without a zone is UTC, one without a time is when the day begins."""
    try:
        if len(text) > MAX_CHARS or not _ISO.fullmatch(text):
            raise BadTime
        moment = datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadTime('write a date like "2026-01-31" or "2026-01-31T12:00:00Z"') from None


def moment(text: str) -> datetime:
    """The same, or ms since the epoch. Eight digits are a day."""
    return of_milliseconds(int(text)) if _MILLISECONDS.fullmatch(text) else date(text)


def of_milliseconds(number: int) -> datetime:
    """A time out of ms since the epoch. `BadTime` for what is no plausible number of them: seconds, a day, a slip."""
    if not _FIRST_MS <= number < _END_MS:
        raise BadTime('write a date like "2026-01-31" or "2026-01-31T12:00:00Z", or ms since the epoch like 1769860800000')
    return _EPOCH + timedelta(milliseconds=number)


def until(text: str) -> datetime:
    """The last moment of a span that ends with `moment(text)`: dates are shown to the ms, and the whole ms is in it."""
    end = moment(text)
    return end if end.microsecond % 1000 else end.replace(microsecond=end.microsecond + 999)


def ahead(text: str, now: datetime) -> datetime | None:
    """When a delay is over: a duration from `now`, or a date. None for a date that is past: no delay."""
    if _WHOLE.fullmatch(text):
        return now + timedelta(seconds=seconds(text))
    try:
        end = date(text)
    except BadTime:
        raise BadTime('write a duration like "30s" or "1h30m", or a date like "2026-01-31T12:00:00Z"') from None
    if end - now > timedelta(seconds=LONGEST):
        raise BadTime("a delay is ten years at most")
    return end if end > now else None


def written(total: int) -> str:
    """Seconds as a duration, in the largest units that fit: 5400 is "1h30m"."""
    parts = []
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, total = divmod(total, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
