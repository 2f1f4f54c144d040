"""Durations as a user writes them: "1h30m", a number of seconds, a timedelta."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.protocol import NO_MAX_DURATION

_DURATION = re.compile(r"(?:[0-9]{1,9}(?:w|d|hr|h|m|s))+")
_PARTS = re.compile(r"([0-9]+)(w|d|hr|h|m|s)")
_UNITS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}


def duration(value: str | float | timedelta) -> float:
    """Seconds out of "1h30m", a number of seconds, or a timedelta."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            raise ConfigurationError(f'{value!r} is no duration: write it like "30s", "10m" or "1h30m"')
        return sum(int(number) * _UNITS[unit] for number, unit in _PARTS.findall(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigurationError(f"{value!r} is no duration: use seconds, a timedelta, or a text like '10m'")
    return float(value)


def timeout(value: float | None) -> float | None:
    """Seconds that something is waited for; None is for ever."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)):
        return value
    raise ConfigurationError(f"timeout is seconds, or None, not {value!r:.80}")


def seconds(value: str | float | timedelta) -> int:
    """A duration in whole seconds, rounded up, within what a run may have."""
    whole = math.ceil(duration(value))
    if not 0 <= whole <= NO_MAX_DURATION:
        raise ConfigurationError(f"{value!r} is no duration that can be used: use 0 to {NO_MAX_DURATION} seconds")
    return whole
