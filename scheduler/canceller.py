"""Canceller: a cancellation goes on to the runs below, where those are many or it was cut off half-way."""

from __future__ import annotations

from datetime import datetime, timedelta

from sojourn.control_plane.engine.cancelling import Cancelling
from sojourn.scheduler.service import Counts

_AT_ONCE = 1_000
#: A cancellation whose transaction was slow is found all the same.
_MARGIN = timedelta(minutes=10)


class Canceller:
    """Looks when it is woken, and with every sweep."""

    name = "canceller"

    def __init__(self, cancelling: Cancelling, seconds: float):
        self._cancelling = cancelling
        self._seconds = seconds
        self._more = False
        #: Until when no cancellation is left half done.
        self._clear: datetime | None = None

    def run_once(self, now: datetime) -> Counts:
        cancelled = self._cancelling.sweep(now, _AT_ONCE, self._clear and self._clear - _MARGIN)
        if not cancelled:
            self._clear = now
        self._more = cancelled >= _AT_ONCE
        return {"cancelled": cancelled}

    def interval(self, now: datetime) -> float:
        return 0 if self._more else self._seconds
