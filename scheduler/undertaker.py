"""Undertaker: executors that ended free their place, and what they still had is retried or failed at once."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.placing import Placing
from sojourn.scheduler.placement.base import Placement
from sojourn.scheduler.reaper import Reaper
from sojourn.scheduler.service import Counts

_NAP = 2.0


class Undertaker:
    """Woken by the placement whenever an executor ends."""

    name = "undertaker"

    def __init__(self, placement: Placement, reaper: Reaper, placing: Placing, index: Index):
        self._placement = placement
        self._reaper = reaper
        self._placing = placing
        self._index = index

    def run_once(self, now: datetime) -> Counts:
        ended = self._placement.ended()
        self._placing.forget([executor.executor for executor in ended])  # first: what it is given until now is found below
        buried, lost = [], 0
        try:
            for executor in ended:
                lost += self._reaper.bury([executor], now)
                buried.append(executor.executor)
        finally:
            if buried:
                self._placement.settled(buried)
                self._index.ring("dispatcher")
        return {"ended": len(ended), "lost": lost}

    def interval(self, now: datetime) -> float:
        return _NAP
