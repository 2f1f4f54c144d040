"""Keys: what clusters sign identities with is fetched and stored, so that the control plane need not ask a cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from sojourn.control_plane.engine.identities import KEYS_SERVICE
from sojourn.control_plane.store.executors import ClusterKeys
from sojourn.nomad_jobs.client import NomadError
from sojourn.scheduler.service import Counts

log = logging.getLogger(__name__)

_EVERY = 60.0
_NOT_SOONER = timedelta(seconds=1)


#: A cluster's keys now, as (id, JWK as JSON text).
Fetch = Callable[[], Sequence[tuple[str, str]]]


class Keys:
    """`fetches` by the clusters' names. Woken when somebody shows what an unknown key signed."""

    name = KEYS_SERVICE

    def __init__(self, fetches: Mapping[str, Fetch], keys: ClusterKeys):
        self._fetches = dict(fetches)
        self._keys = keys
        self._fetched: datetime | None = None

    def run_once(self, now: datetime) -> Counts:
        if self._fetched is not None and now < self._fetched + _NOT_SOONER:
            return {}  # who shows made-up keys does not make us ask the cluster each time
        self._fetched = now
        # All at once: one that does not answer keeps no other waiting.
        with ThreadPoolExecutor(len(self._fetches)) as pool:
            return {"keys": sum(pool.map(lambda cluster: self._renew(cluster, now), self._fetches))}

    def _renew(self, cluster: str, now: datetime) -> int:
        try:
            found = self._fetches[cluster]()
        except NomadError as error:
            log.warning("the keys of the cluster %s cannot be had: %s", cluster, error)
            return 0
        if found:  # else it is being set up
            self._keys.replace(cluster, found, now)
        return len(found)

    def interval(self, now: datetime) -> float:
        return _EVERY
