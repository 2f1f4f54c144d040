"""What a run waits for, as its shim knows it: keys without a result, what crossed on the way, and since when it is blocked.

No I/O. The process may tell that it is blocked while a result is on its way to it. Such a word is outdated: it will wake,
and tell anew, so it is passed on without its `block`.
"""

from __future__ import annotations

from sojourn.executor_shim.frames import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Results whose JSON is larger than this go in frames of their own; bytes.
_LARGE = 4 << 20


class Block:
    """The run is blocked. `since` (monotonic seconds); `need`: any or all of `waits`, as the worker API has them."""

    def __init__(self, since: float, snapshot: int, need: str, waits: list[dict[str, Any]]):
        self.since, self.snapshot, self.need, self.waits = since, snapshot, need, waits

    @property
    def until(self) -> str | None:
        """The date (ISO) at which it ends at the latest (any) or earliest (all), if dates alone decide; else None."""
        dates = [str(wait.get("at")) for wait in self.waits if wait["kind"] == "date"]
        if not dates or (self.need == "all" and len(dates) < len(self.waits)):
            return None
        return min(dates) if self.need == "any" else max(dates)

    def patience(self, terms: Mapping[str, Any], now: float, cost: float) -> float | None:
        """Seconds after which the process is to be frozen; None: its wait is over sooner than that pays.

        `now` in seconds since the epoch. `cost`: seconds that freezing and thawing it will take. A term of 0 means every
        wait, whatever that costs.
        """
        from datetime import datetime

        after, threshold = (max(float(terms[name]), cost) if terms[name] else 0.0 for name in ("after", "threshold"))
        if self.until is None:
            return after
        left = datetime.fromisoformat(self.until).timestamp() - now
        if left <= threshold:
            return None
        return 0.0 if all(wait["kind"] == "date" for wait in self.waits) else min(after, left)


class Waits:
    """One attempt's. `block` is set while the control plane has taken the run's place back."""

    def __init__(self) -> None:
        self.block: Block | None = None
        #: Seconds that the attempt was blocked, up to the last time that it went on.
        self.blocked_seconds = 0.0
        #: Whether the process can do nothing but wait, by its last word and what it was given since.
        self.is_still = False
        self._known: dict[str, dict[str, Any]] = {}
        self._pending: list[str] = []
        self._delivered: set[str] = set()
        self._next: dict[str, Any] | None = None
        self._need: str | None = None

    @property
    def pending(self) -> list[str]:
        """The keys whose results the process has not been given."""
        return [key for key in self._pending if key not in self._delivered]

    def take(self, frame: Mapping[str, Any]) -> None:
        """What the process tells."""
        new = list(frame["waits"])
        self._pending = list(frame["pending"])
        known = self._known | {wait["key"]: wait for wait in new}
        self._known = {key: known[key] for key in self._pending if key in known}
        self._delivered.intersection_update(self._pending)
        before = self._next["waits"] if self._next is not None else []
        self._next = {"waits": before + new, "block": frame["block"]}
        self._need = frame["block"]
        self.is_still = frame["block"] is not None

    def still_waits(self) -> None:
        """The run has its place again, though its process has nothing to go on with: that is to be told once more.

        It may have gone on by itself, and waited again before its run had its place.
        """
        if self.is_still and self.pending and self._next is None:
            self._next = {"waits": [], "block": self._need}

    def due(self) -> dict[str, Any] | None:
        """What the control plane is to be told now, once; None for nothing."""
        told, self._next = self._next, None
        if told is None:
            return None
        block = told["block"]
        if block is not None and any(key in self._delivered for key in self._pending):
            if not told["waits"]:
                return None
            block = None
        return {"waits": told["waits"], "pending": self.pending, "block": block}

    def deliver(self, done: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the results that the process has not been given; they count as given from now on."""
        fresh = {key: told for key, told in done.items() if key in self._pending and key not in self._delivered}
        self._delivered |= fresh.keys()
        self.is_still = self.is_still and not fresh
        return fresh

    @property
    def has_news(self) -> bool:
        """Whether the process has told something that the control plane does not know."""
        return self._next is not None

    def kept(self) -> dict[str, Any]:
        """What is to be known again when the process is thawed."""
        pending = self.pending
        known = {key: self._known[key] for key in pending if key in self._known}
        return {"pending": pending, "known": known, "need": self._need}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """What was known when the process was frozen."""
        self._pending, self._known, self.is_still = list(kept["pending"]), dict(kept["known"]), True
        self._need = kept.get("need") or "any"

    def fail(self, keys: list[str]) -> None:
        """The process is told that these waits are refused."""
        self._delivered |= set(keys)

    def blocked(self, now: float, snapshot: int, need: str) -> None:
        """The control plane has taken the run's place back."""
        since = self.block.since if self.block is not None else now
        self.block = Block(since, snapshot, need, [self._known[key] for key in self.pending if key in self._known])

    def blocked_for(self, now: float) -> float:
        """Seconds that the attempt was blocked, those of a block that is not over included."""
        return self.blocked_seconds + (max(now - self.block.since, 0.0) if self.block is not None else 0.0)

    def go_on(self, now: float) -> float:
        """The run has its place again, or is ending; the seconds that it was blocked, 0 if it was not."""
        if self.block is None:
            return 0.0
        seconds = max(now - self.block.since, 0.0)
        self.block = None
        self.blocked_seconds += seconds
        return seconds


def portions(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Results in several parts where they are large, so that no frame outgrows its limit."""
    parts: list[dict[str, Any]] = [{}]
    size = 0
    for key, told in done.items():
        length = len(str(told.get("output") or "")) if isinstance(told, dict) else 0
        if parts[-1] and size + length > _LARGE:
            parts.append({})
            size = 0
        parts[-1][key] = told
        size += length
    return parts


def checked(frame: Mapping[str, Any]) -> Mapping[str, Any]:
    """A frame of waits from a process that is not trusted; `FrameError` for what is none."""
    waits, pending = frame.get("waits"), frame.get("pending")
    is_good = (
        isinstance(waits, list)
        and isinstance(pending, list)
        and all(isinstance(key, str) for key in pending)
        and all(_is_wait(wait) for wait in waits)
        and frame.get("block") in (None, "any", "all")
    )
    if not is_good:
        raise FrameError("a frame of waits that is none")
    return frame


def _is_wait(wait: object) -> bool:
    if not isinstance(wait, dict) or not isinstance(wait.get("key"), str):
        return False
    return _is_moment(wait.get("at")) if wait.get("kind") == "date" else wait.get("kind") in ("token", "run")


def _is_moment(text: object) -> bool:
    """Whether it is a date that can be reckoned with, zone and all."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(text)).tzinfo is not None
    except ValueError:
        return False
