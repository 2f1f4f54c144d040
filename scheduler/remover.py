"""Remover: jobs whose executors ended, or that nobody needs any more, are removed from the cluster in small batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from sojourn.nomad_jobs.client import NomadError
from sojourn.scheduler.service import Counts

log = logging.getLogger(__name__)

_AT_ONCE, _NAP = 20, 5.0
#: How often jobs are looked for that nobody needs any more.
_UNUSED_EVERY = timedelta(hours=1)


class Remover:
    """`remove` purges at most so many children that ended before a date, `remove_unused` so many jobs that nobody needs.

    Dispatching gets slower with what lies about in Nomad.
    """

    def __init__(
        self,
        remove: Callable[[datetime, int], int],
        remove_unused: Callable[[int], int],
        keep: timedelta,
        cluster: str = "default",
    ):
        self.name = f"remover:{cluster}"
        self._remove = remove
        self._remove_unused = remove_unused
        self._keep = keep
        self._has_more = False
        self._look_at: datetime | None = None

    def run_once(self, now: datetime) -> Counts:
        removed = unused = 0
        self._look_at = self._look_at or now + _UNUSED_EVERY
        try:
            removed = self._remove(now - self._keep, _AT_ONCE)
            if now >= self._look_at:
                unused = self._remove_unused(_AT_ONCE)
                self._look_at = now if unused == _AT_ONCE else now + _UNUSED_EVERY
        except NomadError as error:
            log.warning("jobs that are over cannot be removed (%s): %s", self.name, error)
        self._has_more = _AT_ONCE in (removed, unused)
        return {"removed": removed, "unused": unused}

    def interval(self, now: datetime) -> float:
        return 0.2 if self._has_more else _NAP
