"""Keys: what a cluster signs identities with is fetched and stored, so that the control plane need not ask the cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sojourn.control_plane.engine.identities import KEYS_SERVICE
from sojourn.control_plane.store.executors import ClusterKeys
from sojourn.nomad_jobs.client import NomadError
from sojourn.scheduler.service import Counts

log = logging.getLogger(__name__)

_EVERY = 60.0
_NOT_SOONER = timedelta(seconds=1)


class Keys:
    """`fetch`: the cluster's keys now, as (id, JWK as JSON text). Woken when somebody shows what an unknown key signed."""

    name = KEYS_SERVICE

    def __init__(self, fetch: Callable[[], Sequence[tuple[str, str]]], keys: ClusterKeys, cluster: str):
        self._fetch = fetch
        self._keys = keys
        self._cluster = cluster
        self._fetched: datetime | None = None

    def run_once(self, now: datetime) -> Counts:
        if self._fetched is not None and now < self._fetched + _NOT_SOONER:
            return {}  # who shows made-up keys does not make us ask the cluster each time
        self._fetched = now
        try:
            found = self._fetch()
        except NomadError as error:
            log.warning("the keys of the cluster %s cannot be had: %s", self._cluster, error)
            return {}
        if not found:
            return {}  # a cluster that is being set up
        self._keys.replace(self._cluster, found, now)
        return {"keys": len(found)}

    def interval(self, now: datetime) -> float:
        return _EVERY
