"""Remover: jobs whose executors ended are removed from the cluster after a while, in small batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from sojourn.nomad_jobs.client import NomadError
from sojourn.scheduler.service import Counts

log = logging.getLogger(__name__)

_AT_ONCE, _NAP = 20, 5.0


class Remover:
    """`remove` purges at most so many that ended before a date. Dispatching gets slower with what lies about in Nomad."""

    name = "remover"

    def __init__(self, remove: Callable[[datetime, int], int], keep: timedelta):
        self._remove = remove
        self._keep = keep
        self._has_more = False

    def run_once(self, now: datetime) -> Counts:
        try:
            removed = self._remove(now - self._keep, _AT_ONCE)
        except NomadError as error:
            log.warning("jobs that are over cannot be removed: %s", error)
            removed = 0
        self._has_more = removed == _AT_ONCE
        return {"removed": removed}

    def interval(self, now: datetime) -> float:
        return 0.2 if self._has_more else _NAP
