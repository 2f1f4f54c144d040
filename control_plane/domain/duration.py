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
_MILLISECONDS = re.compile(r"[0-9]{1,15}")
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
    """An ISO date, or ms since the epoch, as an aware time in UTC; a date without a zone is UTC."""
    try:
        if _MILLISECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        if len(text) > MAX_CHARS or not text.isascii():
            raise BadTime
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise BadTime('write a date like "2026-01-31T12:00:00Z"') from None


def ahead(text: str, now: datetime) -> datetime | None:
    """When a delay is over: a duration from `now`, or a date. None for a date that is past: no delay."""
    if _WHOLE.fullmatch(text):
        return now + timedelta(seconds=seconds(text))
    try:
        moment = date(text)
    except BadTime:
        raise BadTime('write a duration like "30s" or "1h30m", or a date like "2026-01-31T12:00:00Z"') from None
    if moment - now > timedelta(seconds=LONGEST):
        raise BadTime("a delay is ten years at most")
    return moment if moment > now else None


def written(total: int) -> str:
    """Seconds as a duration, in the largest units that fit: 5400 is "1h30m"."""
    parts = []
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, total = divmod(total, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
