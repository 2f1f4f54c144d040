"""Taking jobs out of Nomad that are over: those of executors that ended, and those of versions that nobody uses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from sojourn.control_plane.store.executors import Executors
from sojourn.nomad_jobs.client import Client, NomadError
from sojourn.scheduler.placement.stopping import children_of

log = logging.getLogger(__name__)

#: How long a job is left alone that Nomad refuses to remove, in seconds; and how many of them are remembered.
_REFUSED_FOR, _MANY_REFUSED = 3600.0, 1000


class Removal:
    """On one cluster. `on_removed` is told of each job of a version that was purged. `clock`: the store's."""

    def __init__(
        self,
        client: Client,
        executors: Executors,
        *,
        cluster: str,
        namespace: str,
        prefix: str,
        clock: Callable[[], datetime],
        on_removed: Callable[[str], None] = lambda _: None,
    ):
        self._client = client
        self._executors = executors
        self._cluster = cluster
        self._namespace = namespace
        self._prefix = prefix
        self._clock = clock
        self._on_removed = on_removed
        self._refused: dict[str, float] = {}

    def remove(self, before: datetime, limit: int) -> int:
        """Purges jobs of executors that ended before a date, the oldest first; how many.

        What Nomad refuses, such as a namespace that is out of reach, is put off: it must not keep the others.
        """
        rows = self._executors.removable(self._cluster, before, limit, self._put_off())
        gone = []
        try:
            for row in rows:
                try:
                    for child in children_of(self._client, row):
                        self._client.deregister(child, row.namespace, purge=True)
                except NomadError as error:
                    if not error.is_refusal:
                        raise
                    log.warning("the job of %s in %s cannot be removed: %s", row.id, row.namespace, error)
                    self._refused[row.id] = time.monotonic() + _REFUSED_FOR
                    continue
                gone.append(row.id)
        finally:
            if gone:
                self._executors.removed(gone, self._clock())
        return len(gone)

    def remove_unused(self, limit: int) -> int:
        """Purges jobs of versions that no executor was placed for as far as the store remembers; how many.

        One that is needed after all is registered again by its next placement. Other installations' jobs are left alone.
        """
        found = self._client.parents(f"{self._prefix}-", self._namespace)
        named = [(str(job["ID"]), str((job.get("Meta") or {}).get("environment"))) for job in found]
        unused = self._executors.unused(self._cluster, named)[:limit]
        for job in unused:
            self._client.deregister(job, self._namespace, purge=True)
            self._on_removed(job)
        return len(unused)

    def _put_off(self) -> list[str]:
        now = time.monotonic()
        self._refused = {name: until for name, until in self._refused.items() if until > now}
        return list(self._refused)[-_MANY_REFUSED:]
