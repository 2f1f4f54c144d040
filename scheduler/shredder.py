"""Shredder: removes images of checkpoints that are over, large payloads and outputs of runs that were deleted, and now and
then what a crash left in the object store.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sojourn.control_plane.engine.shredding import Shredding
from sojourn.scheduler.service import Counts

_AT_ONCE = 200
_SWEEP = timedelta(hours=1)


class Shredder:
    """The keys of such images are destroyed already: for them it saves room, no secret."""

    name = "shredder"

    def __init__(self, shredding: Shredding):
        self._shredding = shredding
        self._swept: datetime | None = None
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        removed = self._shredding.remove(now, _AT_ONCE)
        packets = self._shredding.remove_packets(_AT_ONCE)
        self._more = _AT_ONCE in (removed, packets)
        orphans = 0
        if self._swept is None or now - self._swept >= _SWEEP:
            orphans = self._shredding.sweep(now)
            self._swept = now
        return {"removed": removed, "packets": packets, "orphans": orphans}

    def interval(self, now: datetime) -> float:
        return 0 if self._more else 10
