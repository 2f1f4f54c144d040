"""The options a user writes on a task: checked where they are written, frozen after."""

from __future__ import annotations

from sojourn.sdk.errors import ConfigurationError, SojournError, TaskDefinitionError
from sojourn.sdk.protocol import (
    DEFAULT_MACHINE,
    MACHINES,
    MAX_ATTEMPTS,
    MAX_DEBOUNCE_KEY_CHARS,
    MAX_RATE,
    MAX_RATE_SECONDS,
    MIN_MAX_DURATION,
    NO_MAX_DURATION,
)
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta
    from typing import Any

_MAX_ID, _MAX_QUEUE = 128, 128
#: Seconds. Longer pauses between attempts are refused by the server as well.
_MAX_PAUSE = 86_400


class Retry(Value):
    """How a run is tried again. `max_attempts` counts the first; times in seconds; `randomize` stretches by 1 to 2.

    `out_of_memory_machine`: the larger machine on which a run that ran out of memory is tried once more.
    """

    __slots__ = ("factor", "max_attempts", "max_timeout", "min_timeout", "out_of_memory_machine", "randomize")
    max_attempts: int
    factor: float
    min_timeout: float
    max_timeout: float
    randomize: bool
    out_of_memory_machine: str | None

    def __init__(
        self,
        max_attempts: int = 3,
        factor: float = 2.0,
        min_timeout: float = 1.0,
        max_timeout: float = 60.0,
        randomize: bool = True,
        out_of_memory_machine: str | None = None,
    ):
        if not isinstance(max_attempts, int) or not 1 <= max_attempts <= MAX_ATTEMPTS:
            raise TaskDefinitionError(f"retry.max_attempts is {max_attempts!r}: use 1 to {MAX_ATTEMPTS}")
        if not 0 < factor <= 1_000:
            raise TaskDefinitionError(f"retry.factor is {factor}: use a number above 0, at most 1000")
        for name, seconds in (("min_timeout", min_timeout), ("max_timeout", max_timeout)):
            if not 0 <= seconds <= _MAX_PAUSE:
                raise TaskDefinitionError(f"retry.{name} is {seconds}: use seconds, 0 to {_MAX_PAUSE}")
        if out_of_memory_machine is not None:
            machine(out_of_memory_machine)
        self._keep(max_attempts, factor, min_timeout, max_timeout, randomize, out_of_memory_machine)

    @classmethod
    def of(cls, given: Retry | Mapping[str, Any] | None) -> Retry:
        """The options that a user gave in either form."""
        if given is None:
            return cls()
        if isinstance(given, Retry):
            return given
        for name in given:
            if name not in cls.fields:
                raise TaskDefinitionError(f"retry has no option {nearest(name, cls.fields)}")
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


class Rate(Value):
    """So many starts in each period, spread evenly, but for a burst of them at once.

    `per`: seconds, a timedelta, or a text like "1m". `burst`: absent, as many as a second's worth, 1 at least.
    """

    __slots__ = ("burst", "limit", "per")
    limit: int
    per: int
    burst: int | None

    def __init__(self, limit: int, per: str | float | timedelta, burst: int | None = None):
        from sojourn.sdk.durations import seconds

        if not isinstance(limit, int) or not 1 <= limit <= MAX_RATE:
            raise TaskDefinitionError(f"limit is {limit!r}: use a whole number of starts, 1 to {MAX_RATE}")
        try:
            period = seconds(per)
        except SojournError as error:
            raise TaskDefinitionError(f"per is {per!r}: {error}") from None
        if not 1 <= period <= MAX_RATE_SECONDS:
            raise TaskDefinitionError(f"per is {per!r}: use 1 second to 400 days")
        if burst is not None and (not isinstance(burst, int) or not 1 <= burst <= limit):
            raise TaskDefinitionError(f"burst is {burst!r}: use 1 to the limit of {limit}")
        self._keep(limit, period, burst)

    def to_wire(self) -> dict[str, Any]:
        """As the manifest has it."""
        wire: dict[str, Any] = {"limit": self.limit, "period": f"{self.per}s"}
        return wire if self.burst is None else wire | {"burst": self.burst}


class Queue(Value):
    """A queue that tasks share. `concurrency_limit`: runs at once, for each concurrency key by itself.

    `rate`, `key_rate`: how many of its runs, and of each concurrency key's, may start in a time.
    """

    __slots__ = ("concurrency_limit", "key_rate", "name", "rate")
    name: str
    concurrency_limit: int | None
    rate: Rate | None
    key_rate: Rate | None

    def __init__(
        self,
        name: str,
        concurrency_limit: int | None = None,
        *,
        rate: Rate | None = None,
        key_rate: Rate | None = None,
    ):
        if not 1 <= len(name) <= _MAX_QUEUE or not _made_of(name, "_-/"):
            raise TaskDefinitionError(f"{name!r} is no queue name: use 1 to 128 letters, digits, _, - or /")
        if concurrency_limit is not None and (not isinstance(concurrency_limit, int) or concurrency_limit < 0):
            raise TaskDefinitionError(f"concurrency_limit is {concurrency_limit!r}: use a whole number, 0 or more")
        for given in (rate, key_rate):
            if given is not None and not isinstance(given, Rate):
                raise TaskDefinitionError(f"{given!r} is no rate: use Rate(100, per='1m')")
        self._keep(name, concurrency_limit, rate, key_rate)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _queue, self._values()


def _queue(name: str, concurrency_limit: int | None, rate: Rate | None, key_rate: Rate | None) -> Queue:
    return Queue(name, concurrency_limit, rate=rate, key_rate=key_rate)


class Debounce(Value):
    """One run for all triggers with the key that come within `delay` of each other; it starts that long after the last one.

    `mode`: with the payload of the first trigger (`leading`) or of the last (`trailing`). `max_delay`: it starts so long
    after the first trigger at the latest. Durations are written as in `"30s"`, in seconds, or as a `timedelta`.
    """

    __slots__ = ("delay", "key", "max_delay", "mode")
    key: str
    delay: Any
    mode: str
    max_delay: Any

    def __init__(self, key: str, delay: Any, mode: str = "leading", max_delay: Any = None):
        if not isinstance(key, str) or not 1 <= len(key) <= MAX_DEBOUNCE_KEY_CHARS:
            raise ConfigurationError(f"debounce.key is {key!r}: use a text of 1 to {MAX_DEBOUNCE_KEY_CHARS} characters")
        if mode not in ("leading", "trailing"):
            raise ConfigurationError(f"there is no debounce.mode {nearest(str(mode), ('leading', 'trailing'))}")
        self._keep(key, delay, mode, max_delay)

    @classmethod
    def of(cls, given: Debounce | Mapping[str, Any]) -> Debounce:
        """The options that a user gave in either form."""
        if isinstance(given, Debounce):
            return given
        if not hasattr(given, "items"):
            raise ConfigurationError(f"debounce is a Debounce(key, delay), or a mapping with both, not {given!r:.80}")
        for name in given:
            if name not in cls.fields:
                raise ConfigurationError(f"debounce has no option {nearest(str(name), cls.fields)}")
        for name in ("key", "delay"):
            if name not in given:
                raise ConfigurationError(f"debounce needs {name}")
        return cls(**given)


def task_id(text: str) -> str:
    """A task's id, checked."""
    if not 1 <= len(text) <= _MAX_ID or not _made_of(text, "_-./") or not _made_of(text[0], ""):
        raise TaskDefinitionError(
            f"{text!r} is no task id: begin with a letter or digit, then letters, digits, _ - . / (128 at most)"
        )
    return text


def machine(name: str | None) -> str:
    """A machine preset's name, checked."""
    if name is None:
        return DEFAULT_MACHINE
    if name not in MACHINES:
        raise TaskDefinitionError(f"there is no machine {nearest(str(name), MACHINES)}")
    return name


def max_duration(seconds: float | None) -> int | None:
    """A limit of seconds, checked; None for none."""
    if seconds is None:
        return None
    if not MIN_MAX_DURATION <= seconds <= NO_MAX_DURATION:
        raise TaskDefinitionError(f"max_duration is {seconds}: use {MIN_MAX_DURATION} seconds or more")
    return int(seconds)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error's sentence: a name that is not known, and the one that was likely meant."""
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(known), n=1)
    return f"{name!r}: did you mean {near[0]!r}?" if near else f"{name!r}: there are {', '.join(sorted(known))}"


def _made_of(text: str, others: str) -> bool:
    """Whether a text has only ASCII letters, digits and those others."""
    bare = text
    for char in others:
        bare = bare.replace(char, "")
    return text.isascii() and (bare == "" or bare.isalnum())
