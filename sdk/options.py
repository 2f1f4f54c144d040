"""The options a user writes on a task or a trigger: checked where they are written, frozen after."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sojourn.sdk.errors import ConfigurationError, TaskDefinitionError
from sojourn.sdk.protocol import DEFAULT_MACHINE, MACHINES, MAX_ATTEMPTS, MIN_MAX_DURATION, NO_MAX_DURATION

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-./]{0,127}")
_QUEUE = re.compile(r"[A-Za-z0-9_\-/]{1,128}")
_DURATION = re.compile(r"(?:\d+(?:w|d|hr|h|m|s))+")
_UNITS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Retry:
    """How a run is tried again. `max_attempts` counts the first; times in seconds; `randomize` stretches by 1 to 2.

    `out_of_memory_machine`: the larger machine on which a run that ran out of memory is tried once more.
    """

    max_attempts: int = 3
    factor: float = 2.0
    min_timeout: float = 1.0
    max_timeout: float = 60.0
    randomize: bool = True
    out_of_memory_machine: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise TaskDefinitionError(f"retry.max_attempts is {self.max_attempts}: use 1 to {MAX_ATTEMPTS}")
        if not 0 < self.factor <= 1_000:
            raise TaskDefinitionError(f"retry.factor is {self.factor}: use a number above 0, at most 1000")
        if self.min_timeout < 0 or self.max_timeout < 0:
            raise TaskDefinitionError("retry.min_timeout and retry.max_timeout are seconds, 0 or more")
        if self.out_of_memory_machine is not None:
            machine(self.out_of_memory_machine)

    @classmethod
    def of(cls, given: Retry | Mapping[str, Any] | None) -> Retry:
        """The options that a user gave in either form."""
        if given is None:
            return cls()
        if isinstance(given, Retry):
            return given
        known = set(cls.__dataclass_fields__)
        unknown = set(given) - known
        if unknown:
            raise TaskDefinitionError(f"retry has no option {_nearest(unknown.pop(), known)}")
        return cls(**given)

    def delay(self, attempt: int, unit_random: float) -> float:
        """Seconds to wait after attempt number `attempt` failed; `unit_random` in [0, 1)."""
        stretch = 1 + unit_random if self.randomize else 1
        try:
            grown = stretch * self.min_timeout * self.factor ** (attempt - 1)
        except OverflowError:
            grown = self.max_timeout
        return min(self.max_timeout, grown)

    def to_wire(self) -> dict[str, Any]:
        """As the manifest and the wire have it."""
        wire: dict[str, Any] = {
            "maxAttempts": self.max_attempts,
            "factor": self.factor,
            "minTimeoutInMs": round(self.min_timeout * 1000),
            "maxTimeoutInMs": round(self.max_timeout * 1000),
            "randomize": self.randomize,
        }
        if self.out_of_memory_machine:
            wire["outOfMemory"] = {"machine": self.out_of_memory_machine}
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Retry:
        """The inverse of `to_wire`; what is absent takes its default."""
        return cls(
            max_attempts=int(wire.get("maxAttempts", 3)),
            factor=float(wire.get("factor", 2)),
            min_timeout=wire.get("minTimeoutInMs", 1_000) / 1000,
            max_timeout=wire.get("maxTimeoutInMs", 60_000) / 1000,
            randomize=bool(wire.get("randomize", True)),
            out_of_memory_machine=(wire.get("outOfMemory") or {}).get("machine"),
        )


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue that tasks share. `concurrency_limit`: runs at once, for each concurrency key by itself."""

    name: str
    concurrency_limit: int | None = None

    def __post_init__(self) -> None:
        if not _QUEUE.fullmatch(self.name):
            raise TaskDefinitionError(f"{self.name!r} is no queue name: use 1 to 128 letters, digits, _, - or /")
        if self.concurrency_limit is not None and self.concurrency_limit < 0:
            raise TaskDefinitionError("concurrency_limit is 0 or more")


def task_id(text: str) -> str:
    """A task's id, checked."""
    if not _ID.fullmatch(text):
        raise TaskDefinitionError(
            f"{text!r} is no task id: begin with a letter or digit, then letters, digits, _ - . / (128 at most)"
        )
    return text


def machine(name: str | None) -> str:
    """A machine preset's name, checked."""
    if name is None:
        return DEFAULT_MACHINE
    if name not in MACHINES:
        raise TaskDefinitionError(f"there is no machine {_nearest(str(name), set(MACHINES))}")
    return name


def max_duration(seconds: float | None) -> int | None:
    """A limit of seconds, checked; None for none."""
    if seconds is None:
        return None
    if not MIN_MAX_DURATION <= seconds <= NO_MAX_DURATION:
        raise TaskDefinitionError(f"max_duration is {seconds}: use {MIN_MAX_DURATION} seconds or more")
    return int(seconds)


def duration(value: str | float | timedelta) -> float:
    """Seconds out of "1h30m", a number of seconds, or a timedelta."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            raise ConfigurationError(f'{value!r} is no duration: write it like "30s", "10m" or "1h30m"')
        return sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)(w|d|hr|h|m|s)", value))
    return float(value)


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
    "max_attempts": "maxAttempts",
    "max_duration": "maxDuration",
    "priority": "priority",
    "version": "lockToVersion",
    "test": "test",
}


def trigger_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Trigger options brought into the wire's words; an unknown one is a TypeError that names the nearest."""
    wire: dict[str, Any] = {}
    for name, value in given.items():
        if name not in TRIGGER_OPTIONS:
            raise TypeError(f"trigger has no option {_nearest(name, set(TRIGGER_OPTIONS))}")
        if value is None:
            continue
        if name == "queue":
            value = {"name": value.name if isinstance(value, Queue) else str(value)}
        elif name == "delay":
            value = _delay(value)
        elif name == "ttl" and isinstance(value, timedelta):
            value = int(value.total_seconds())
        elif name == "idempotency_key_ttl" and isinstance(value, timedelta):
            value = f"{int(value.total_seconds())}s"
        wire[TRIGGER_OPTIONS[name]] = value
    return wire


def _delay(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError("delay is a datetime without a time zone: add tzinfo=timezone.utc")
        return value.isoformat()
    if isinstance(value, timedelta | int | float):
        seconds = duration(value)
        return f"{max(round(seconds), 0)}s"
    return value


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"{name!r}: did you mean {near[0]!r}?" if near else f"{name!r}: there are {', '.join(sorted(known))}"
