"""Lanes that a cluster has no node for: left alone for a growing while, so that nobody asks again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sojourn.scheduler.placement.base import Closed

_FIRST, _LONGEST = 2.0, 60.0


@dataclass
class _Closing:
    why: Closed
    until: float
    pause: float


class Closings:
    """By lane. `clock` in seconds. A lane whose pause is over may be tried again, and is closed for longer next time."""

    def __init__(self, clock: Callable[[], float], first: float = _FIRST, longest: float = _LONGEST):
        self._clock = clock
        self._first = first
        self._longest = longest
        self._lock = threading.Lock()
        self._closings: dict[str, _Closing] = {}

    def close(self, lane: str, why: Closed) -> None:
        """There was no place for an executor of this lane."""
        now = self._clock()
        with self._lock:
            known = self._closings.get(lane)
            if known is not None and known.until > now:
                known.why = why  # of several that were asked for at once, one counts
                return
            pause = min(known.pause * 2, self._longest) if known else self._first
            self._closings[lane] = _Closing(why, now + pause, pause)

    def open(self, lane: str) -> None:
        """One of this lane runs."""
        with self._lock:
            self._closings.pop(lane, None)

    def room(self) -> None:
        """Something ended: lanes that waited for room may be tried at once."""
        now = self._clock()
        with self._lock:
            for closing in self._closings.values():
                if closing.why.is_full:
                    closing.until = min(closing.until, now)

    def closed(self) -> dict[str, Closed]:
        """Lanes that are left alone now. Those that were not closed again for long are forgotten."""
        now = self._clock()
        with self._lock:
            for lane in [lane for lane, each in self._closings.items() if each.until + self._longest < now]:
                del self._closings[lane]
            return {lane: each.why for lane, each in self._closings.items() if each.until > now}
