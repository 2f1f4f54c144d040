"""Expirer: finishes runs that were not dequeued within their time to live."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.expiring import Expiring
from sojourn.scheduler.service import Counts

_AT_ONCE = 500


class Expirer:
    """Looks every second."""

    name = "expirer"

    def __init__(self, expiring: Expiring, seconds: float = 1.0):
        self._expiring = expiring
        self._seconds = seconds
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        expired = self._expiring.expire(now, _AT_ONCE)
        self._more = expired == _AT_ONCE
        return {"expired": expired}

    def interval(self, now: datetime) -> float:
        return 0 if self._more else self._seconds
