"""Ticker: makes the runs of schedules that are due. It sleeps until the next one is."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.ticking import Ticking
from sojourn.scheduler.service import Counts

_AT_ONCE = 500
_LONGEST_NAP = 5.0
#: Between looks whether the runs are over that ticks wait for.
_WHILE_HELD = 1.0


class Ticker:
    """Woken when a schedule is stored, since that may be due sooner than all it knew of."""

    name = "ticker"

    def __init__(self, ticking: Ticking):
        self._ticking = ticking
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        ticked = self._ticking.fire_due(now, _AT_ONCE)
        self._more = ticked.looked == _AT_ONCE
        return {"looked": ticked.looked, "fired": ticked.fired}

    def interval(self, now: datetime) -> float:
        if self._more:
            return 0
        look = self._ticking.next_look()
        nap = _WHILE_HELD if look.held else _LONGEST_NAP
        return nap if look.due is None else min(max((look.due - now).total_seconds(), 0.001), nap)
