"""Who calls: an environment by its secret key, an executor by its credential, an allocation by its workload identity.

Every bad one of a kind gets the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.errors import CredentialRefused
from sojourn.control_plane.engine.identities import Claims, Identities
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import Environment

_KEY = re.compile(r"Bearer +(tr_[A-Za-z0-9_]{8,200})")
_CREDENTIAL = re.compile(r"Bearer +([A-Za-z0-9_=-]{1,2000}\.[0-9a-f]{64})")
_IDENTITY = re.compile(r"Bearer +([A-Za-z0-9_-]{1,2000}\.[A-Za-z0-9_-]{1,4000}\.[A-Za-z0-9_-]{1,2000})")


class Caller(StrEnum):
    """Who may call a route."""

    ANYONE = "anyone"
    ENVIRONMENT = "an environment's secret key"
    EXECUTOR = "an executor's credential"
    ALLOCATION = "an allocation's workload identity"


class Gate:
    """Opens for what a request's `Authorization` header holds; `Problem` 401 otherwise."""

    def __init__(self, access: Access, credentials: Credentials, identities: Identities):
        self._access = access
        self._credentials = credentials
        self._identities = identities

    def opens(self, caller: Caller) -> Callable[[Mapping[str, Any], datetime], Any] | None:
        """What says who calls, out of a request's environment and the time; None where anyone may."""
        return {
            Caller.ENVIRONMENT: self.environment,
            Caller.EXECUTOR: self.executor,
            Caller.ALLOCATION: self.allocation,
        }.get(caller)

    def environment(self, env: Mapping[str, Any], now: datetime) -> Environment:
        """The environment that a secret key opens."""
        found = _KEY.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
        environment = self._access.environment_by_key(found[1], now) if found else None
        if environment is None:
            raise Problem("UNAUTHORIZED")
        return environment

    def executor(self, env: Mapping[str, Any], now: datetime) -> ExecutorIdentity:
        """The executor that a credential names."""
        found = _CREDENTIAL.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
        if not found:
            raise Problem("CREDENTIAL_REFUSED")
        try:
            return self._credentials.executor(found[1])
        except CredentialRefused:
            raise Problem("CREDENTIAL_REFUSED") from None

    def allocation(self, env: Mapping[str, Any], now: datetime) -> Claims:
        """The allocation that a cluster vouches for."""
        found = _IDENTITY.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
        if not found:
            raise Problem("IDENTITY_REFUSED")
        return self._identities.claims(found[1], now)
