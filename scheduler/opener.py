"""Opener: lets queues go on that their rates have shut for a while. It sleeps until the next one is due."""

from __future__ import annotations

from datetime import datetime, timedelta

from sojourn.control_plane.engine.opening import Opening
from sojourn.scheduler.service import Counts

#: Seconds: between two looks for organizations with rates; of a nap at most while there are some, since what is shut next
#: is not known yet; and at least.
_ANEW, _NAP, _SHORTEST = 2.0, 0.25, 0.02


class Opener:
    """Woken when a rate was changed."""

    name = "opener"

    def __init__(self, opening: Opening):
        self._opening = opening
        self._organizations: list[str] = []
        self._looked: datetime | None = None
        self._due: datetime | None = None

    def run_once(self, now: datetime) -> Counts:
        if not self._organizations or self._looked is None or now - self._looked >= timedelta(seconds=_ANEW):
            self._organizations, self._looked = self._opening.organizations(), now
        found = [self._opening.open(organization, now) for organization in self._organizations]
        self._due = min((due for due in found if due is not None), default=None)
        return {"shut": sum(due is not None for due in found)}

    def interval(self, now: datetime) -> float:
        if not self._organizations:
            return _ANEW
        ahead = _NAP if self._due is None else (self._due - now).total_seconds()
        return min(max(ahead, _SHORTEST), _NAP)
