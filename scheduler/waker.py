"""Waker: dates that have come and tokens nobody completed in time; and what a crash has left waiting for nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from sojourn.control_plane.engine.waiting import Waiting
from sojourn.scheduler.service import Counts

_AT_ONCE = 500


class Waker:
    """Woken when a wait for a date is stored, since that may be sooner than all it knew of. `seconds`: between sweeps."""

    name = "waker"

    def __init__(self, waiting: Waiting, seconds: float):
        self._waiting = waiting
        self._seconds = seconds
        self._swept: datetime | None = None
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        due, swept = self._waiting.complete_due(now, _AT_ONCE), 0
        if self._swept is None or now - self._swept >= timedelta(seconds=self._seconds):
            self._swept = now
            swept = self._waiting.sweep(now, _AT_ONCE)
        self._more = due == _AT_ONCE or swept >= _AT_ONCE
        return {"due": due, "swept": swept}

    def interval(self, now: datetime) -> float:
        if self._more:
            return 0
        due = self._waiting.next_due()
        return self._seconds if due is None else min(max((due - now).total_seconds(), 0.001), self._seconds)
