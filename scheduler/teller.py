"""Teller: makes the runs that call `on_end` hooks of runs that have ended."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.endings import Endings
from sojourn.scheduler.service import Counts

_AT_ONCE = 500
#: An end does not know whether its task has hooks, and rings nobody.
_BETWEEN_LOOKS = 1.0


class Teller:
    """Ends wait in an outbox until then: none is lost while no scheduler runs."""

    name = "teller"

    def __init__(self, endings: Endings):
        self._endings = endings
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        looked = self._endings.make_hook_runs(now, _AT_ONCE)
        self._more = looked == _AT_ONCE
        return {"ends": looked}

    def interval(self, now: datetime) -> float:
        return 0 if self._more else _BETWEEN_LOOKS
