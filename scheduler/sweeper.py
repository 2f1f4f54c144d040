"""Sweeper: makes the queue agree with the store, organization by organization; rebuilds it after a loss."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.recovery import Recovery, Repaired
from sojourn.control_plane.store.versions import Versions
from sojourn.scheduler.service import Counts


class Sweeper:
    """Woken at once when somebody found the queue empty."""

    name = "sweeper"

    def __init__(self, versions: Versions, recovery: Recovery, seconds: float):
        self._versions = versions
        self._recovery = recovery
        self._seconds = seconds

    def run_once(self, now: datetime) -> Counts:
        total = Repaired()
        for organization in self._versions.organizations():
            total += self._recovery.sweep(organization, now)
        return {
            "rebuilt": total.rebuilt,
            "enqueued": total.enqueued,
            "removed": total.removed,
            "requeued": total.requeued,
        }

    def interval(self, now: datetime) -> float:
        return self._seconds
