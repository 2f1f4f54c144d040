"""Stager: queues runs whose delay, or whose wait before a retry, is over. It sleeps until the next one is due."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.expiring import Expiring
from sojourn.scheduler.service import Counts

_AT_ONCE = 500
_LONGEST_NAP = 5.0


class Stager:
    """Woken when a run is stored with a date, since that may be sooner than all it knew of."""

    name = "stager"

    def __init__(self, expiring: Expiring):
        self._expiring = expiring
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        staged = self._expiring.queue_due(now, _AT_ONCE)
        self._more = staged == _AT_ONCE
        return {"staged": staged}

    def interval(self, now: datetime) -> float:
        if self._more:
            return 0
        due = self._expiring.next_due()
        return _LONGEST_NAP if due is None else min(max((due - now).total_seconds(), 0.001), _LONGEST_NAP)
