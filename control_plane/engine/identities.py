"""How an allocation of a cluster becomes an executor: it shows what the cluster signed, and gets its credential for it.

The cluster's signature says which job and which allocation calls; the executor's row, written before it was placed, says
whether that is the one that is expected. The cluster is not asked: its public keys are kept in the store.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeGuard

import jwt

from sojourn.control_plane.domain.keeping import KEPT_IDLE_SECONDS
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.errors import IdentityRefused, KeyUnknown, PlacementOver
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.executors import ClusterKeys, Executors
from sojourn.control_plane.store.versions import Versions

log = logging.getLogger(__name__)

AUDIENCE = "sojourn"
#: The service that fetches keys; it is woken when a token names one that is not known.
KEYS_SERVICE = "keys"
_ALGORITHMS = ("RS256", "EdDSA")
_KEYS_FOR = timedelta(seconds=30)
_MANY_KEYS = 100
#: How far the clocks of a cluster and of the database may be apart.
_LEEWAY = timedelta(seconds=60)
#: The names of the cluster that has a key, and the key.
_Key = tuple[tuple[str, ...], jwt.PyJWK]
_TEXTS = ("nomad_namespace", "nomad_job_id", "nomad_allocation_id")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a cluster says of an allocation. `job` is the parameterized job, whose child the allocation belongs to.

    `clusters`: the names under which the cluster that signed is known; it has two when it is configured twice.
    """

    clusters: tuple[str, ...]
    namespace: str
    job: str
    allocation: str


@dataclass(frozen=True, slots=True)
class Admission:
    """What an executor gets: its credential, and the settings of its shim by their names there."""

    credential: str
    settings: Mapping[str, Any]


class Identities:
    """`settings`: what every shim is told besides its own version."""

    def __init__(
        self,
        executors: Executors,
        keys: ClusterKeys,
        versions: Versions,
        credentials: Credentials,
        index: Index,
        settings: Mapping[str, Any],
    ):
        self._executors = executors
        self._keys = keys
        self._versions = versions
        self._credentials = credentials
        self._index = index
        self._settings = dict(settings)
        self._known: dict[str, tuple[list[_Key], datetime]] = {}
        self._lock = threading.Lock()

    def claims(self, token: str, now: datetime) -> Claims:
        """What a token proves. `IdentityRefused` for one that proves nothing, `KeyUnknown` while its key is not here."""
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in _ALGORITHMS or not isinstance(kid, str) or not kid or len(kid) > 200:
                raise IdentityRefused
            clusters, told = _verified(token, algorithm, self._keys_of(kid, now))
        except (jwt.PyJWTError, Base64Error, ValueError, TypeError) as error:
            log.info("an identity was refused: %s", type(error).__name__)
            raise IdentityRefused from None
        _check_dates(told, now)
        if any(not isinstance(told.get(name), str) or not told[name] for name in _TEXTS):
            raise IdentityRefused
        return Claims(clusters, told["nomad_namespace"], told["nomad_job_id"], told["nomad_allocation_id"])

    def admit(self, claims: Claims, executor_id: str, now: datetime) -> Admission:
        """The credential of the executor that the allocation is; `PlacementOver` if it is none, or no longer."""
        executor = self._executors.admit(
            executor_id,
            clusters=claims.clusters,
            namespace=claims.namespace,
            job_id=claims.job,
            allocation_id=claims.allocation,
            at=now,
        )
        version = self._versions.find(executor.version_id) if executor else None
        if executor is None or version is None:
            with self._lock:
                self._known.clear()  # the cluster may have another name by now: the next is judged by what is stored
            log.info("allocation %s of %s is not the executor %s", claims.allocation, claims.job, executor_id)
            raise PlacementOver
        identity = ExecutorIdentity(
            executor.id,
            executor.organization_id,
            executor.environment_id,
            executor.version_id,
            executor.machine,
            executor.region,
        )
        settings = {**self._settings, "version_hash": version.content_hash, "thaws": bool(executor.thaws)}
        if executor.run_id is None:
            settings["idle_timeout"] = KEPT_IDLE_SECONDS
        return Admission(self._credentials.for_executor(identity), settings)

    def _keys_of(self, kid: str, now: datetime) -> list[_Key]:
        known = self._known.get(kid)
        if known is None or known[1] <= now:
            found = self._keys.find(kid)
            if not found:
                self._index.ring(KEYS_SERVICE)
                raise KeyUnknown
            known = ([(clusters, jwt.PyJWK.from_json(json.dumps(jwk))) for clusters, jwk in found], now + _KEYS_FOR)
            with self._lock:
                if len(self._known) >= _MANY_KEYS:
                    self._known.clear()
                self._known[kid] = known
        return known[0]


def _verified(token: str, algorithm: str, keys: list[_Key]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Whose signature it is, and what the token says. Who names a key like another cluster's speaks for itself alone."""
    # Dates are compared by the caller: they go by the database's clock, not by this host's.
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "aud"]}
    for clusters, key in keys:
        if key.algorithm_name != algorithm:
            continue
        try:
            return clusters, jwt.decode(token, key, algorithms=[algorithm], audience=AUDIENCE, options=options)  # type: ignore[arg-type]
        except jwt.InvalidSignatureError:
            continue
    raise IdentityRefused


def _is_moment(value: Any) -> TypeGuard[float]:
    """Whether it is a number of seconds: JSON as it is read here has numbers that are none, too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_dates(told: Mapping[str, Any], now: datetime) -> None:
    moment, leeway = now.timestamp(), _LEEWAY.total_seconds()
    expires, begins = told.get("exp"), told.get("nbf", 0)
    if not _is_moment(expires) or not _is_moment(begins):
        raise IdentityRefused
    if expires + leeway <= moment or begins - leeway > moment:
        raise IdentityRefused
