"""Sweeper: makes the queue agree with the store, organization by organization; rebuilds it after a loss."""

from __future__ import annotations

import logging
from datetime import datetime

from sojourn.control_plane.engine.recovery import Recovery
from sojourn.scheduler.service import Counts

log = logging.getLogger(__name__)


class Sweeper:
    """Woken at once when somebody found the queue empty."""

    name = "sweeper"

    def __init__(self, recovery: Recovery, seconds: float):
        self._recovery = recovery
        self._seconds = seconds

    def run_once(self, now: datetime) -> Counts:
        total, failed = self._recovery.sweep_all(now)
        for organization, error in failed.items():
            log.error("the sweep of %s failed; others go on", organization, exc_info=error)
        return {
            "rebuilt": total.rebuilt,
            "enqueued": total.enqueued,
            "removed": total.removed,
            "requeued": total.requeued,
        }

    def interval(self, now: datetime) -> float:
        return self._seconds
