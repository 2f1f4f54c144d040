"""Canceller: a cancellation that was cut off half-way goes on to the runs below."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.cancelling import Cancelling
from sojourn.scheduler.service import Counts

_AT_ONCE = 100


class Canceller:
    """Looks with every sweep."""

    name = "canceller"

    def __init__(self, cancelling: Cancelling, seconds: float):
        self._cancelling = cancelling
        self._seconds = seconds

    def run_once(self, now: datetime) -> Counts:
        return {"cancelled": self._cancelling.sweep(now, _AT_ONCE)}

    def interval(self, now: datetime) -> float:
        return self._seconds
