"""Bulker: carries bulk actions out, a page of runs of each in turns."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.engine.bulk_actions import BulkActions
from sojourn.scheduler.service import Counts


class Bulker:
    """Woken when an action is made."""

    name = "bulker"

    def __init__(self, bulk_actions: BulkActions, seconds: float):
        self._bulk_actions = bulk_actions
        self._seconds = seconds
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        moved = self._bulk_actions.work(now)
        self._more = moved > 0
        return {"moved": moved}

    def interval(self, now: datetime) -> float:
        return 0 if self._more else self._seconds
