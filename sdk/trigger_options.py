"""The options a user writes on a trigger, brought into the wire's words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sojourn.sdk import context
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.options import Queue, nearest
from sojourn.sdk.protocol import NO_MAX_DURATION

_DURATION = re.compile(r"(?:[0-9]{1,9}(?:w|d|hr|h|m|s))+")
_PARTS = re.compile(r"([0-9]+)(w|d|hr|h|m|s)")
_UNITS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}

#: Trigger options as a user writes them -> as the wire has them.
TRIGGER_OPTIONS = {
    "queue": "queue",
    "concurrency_key": "concurrencyKey",
    "delay": "delay",
    "ttl": "ttl",
    "idempotency_key": "idempotencyKey",
    "idempotency_key_ttl": "idempotencyKeyTTL",
    "tags": "tags",
    "metadata": "metadata",
    "machine": "machine",
    "region": "region",
    "max_attempts": "maxAttempts",
    "max_duration": "maxDuration",
    "priority": "priority",
    "version": "lockToVersion",
    "test": "test",
}


def trigger_options(given: Mapping[str, Any], run_id: str | None = None) -> dict[str, Any]:
    """The options on the wire; an unknown one is a TypeError that names the nearest.

    `run_id`: the run that triggers. An idempotency key that is written inside a run holds for that run (so that its
    second attempt does not trigger again), one that is written in an app holds for the environment.
    """
    wire: dict[str, Any] = {}
    for name, value in given.items():
        if name not in TRIGGER_OPTIONS:
            raise TypeError(f"trigger has no option {nearest(name, TRIGGER_OPTIONS)}")
        if value is not None:
            wire[TRIGGER_OPTIONS[name]] = _WRITTEN[name](value) if name in _WRITTEN else value
    if run_id is not None:
        if "idempotencyKey" in wire:
            wire |= _of_run(wire["idempotencyKey"], run_id)
        wire["parentRunId"] = run_id
    return wire


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


def seconds(value: str | float | timedelta) -> int:
    """A duration in whole seconds, rounded up, within what a run may have."""
    whole = math.ceil(duration(value))
    if not 0 <= whole <= NO_MAX_DURATION:
        raise ConfigurationError(f"{value!r} is no duration that can be used: use 0 to {NO_MAX_DURATION} seconds")
    return whole


def _queue(value: Any) -> dict[str, str]:
    return {"name": value.name if isinstance(value, Queue) else str(value)}


def _delay(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError("delay is a datetime without a time zone: add tzinfo=timezone.utc")
        return value.isoformat()
    if isinstance(value, str):
        return value
    return f"{math.ceil(max(duration(value), 0))}s"


def _key(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _tags(value: Any) -> Any:
    return value if isinstance(value, str) else list(value)


def idempotency_key(value: Any, run_id: str | None) -> str:
    """A key as the platform has it: one that is written inside a run holds for that run."""
    key = _key(value)
    return key if run_id is None else str(_of_run(key, run_id)["idempotencyKey"])


def key_options(value: Any, ttl: Any) -> dict[str, Any]:
    """The key of what is no run, and how long it holds, on the wire."""
    wire: dict[str, Any] = {}
    if value is not None:
        here = context.inside()
        wire["idempotencyKey"] = idempotency_key(value, here.run.id if here is not None else None)
    if ttl is not None:
        wire["idempotencyKeyTTL"] = f"{seconds(ttl)}s"
    return wire


def _of_run(key: str, run_id: str) -> dict[str, Any]:
    from hashlib import sha256

    hashed = sha256(f"{key}-{run_id}".encode()).hexdigest()
    return {"idempotencyKey": hashed, "idempotencyKeyOptions": {"key": key, "scope": "run"}}


_WRITTEN = {
    "queue": _queue,
    "delay": _delay,
    "ttl": seconds,
    "idempotency_key": _key,
    "idempotency_key_ttl": lambda value: f"{seconds(value)}s",
    "tags": _tags,
}
