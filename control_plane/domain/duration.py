"""Durations and dates as the wire has them: "1h30m", a number of seconds, an ISO date. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DURATION = re.compile(r"(?:\d{1,9}(?:w|d|hr|h|m|s))+")
_PART = re.compile(r"(\d{1,9})(w|d|hr|h|m|s)")
_SECONDS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}
_MAX_CHARS = 100
#: Nothing is planned further ahead than this.
MAX_SECONDS = 100 * 366 * 86_400


def seconds(text: str) -> int:
    """Seconds of a duration; ValueError for what is none."""
    if len(text) > _MAX_CHARS or not _DURATION.fullmatch(text):
        raise ValueError('write a duration like "30s", "10m" or "1h30m"')
    total = sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
    if total > MAX_SECONDS:
        raise ValueError("that is more than a hundred years")
    return total


def moment(text: str, now: datetime) -> datetime:
    """The moment that a duration from now, or an ISO date, stands for; ValueError for what is neither."""
    if len(text) <= _MAX_CHARS and _DURATION.fullmatch(text):
        return now + timedelta(seconds=seconds(text))
    return date(text)


def date(text: str) -> datetime:
    """An ISO date, or Unix time in ms; aware, in UTC."""
    if len(text) > _MAX_CHARS:
        raise ValueError("that is no date")
    try:
        found = datetime.fromtimestamp(int(text) / 1000, UTC) if text.isdigit() else datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        found = found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError("write a date like 2026-03-04T12:00:00Z") from None
    if not 1970 <= found.year <= 2200:
        raise ValueError("that date is out of range")
    return found
