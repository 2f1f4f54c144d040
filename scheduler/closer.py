"""Closer: completes batches whose runs are over, and gives up those whose items do not come."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.batches import Batches
from sojourn.scheduler.service import Counts

_AT_ONCE = 500


class Closer:
    """Who looks at a batch sees it completed at once; this is for those at which nobody looks."""

    name = "closer"

    def __init__(self, batches: Batches, seconds: float):
        self._batches = batches
        self._seconds = seconds
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        closed = self._batches.sweep(now, _AT_ONCE)
        self._more = closed >= _AT_ONCE
        return {"closed": closed}

    def interval(self, now: datetime) -> float:
        return 0 if self._more else self._seconds
