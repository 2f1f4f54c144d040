"""Who calls: an environment by its secret key, or an executor by its credential. Every bad one gets the same answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.errors import CredentialRefused
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import Environment

_KEY = re.compile(r"Bearer +(tr_[A-Za-z0-9_]{8,200})")
_CREDENTIAL = re.compile(r"Bearer +([A-Za-z0-9_=-]{1,2000}\.[0-9a-f]{64})")


class Caller(StrEnum):
    """Who may call a route."""

    ANYONE = "anyone"
    ENVIRONMENT = "an environment's secret key"
    EXECUTOR = "an executor's credential"


class Gate:
    """Opens for what a request's `Authorization` header holds; `Problem` 401 otherwise."""

    def __init__(self, access: Access, credentials: Credentials):
        self._access = access
        self._credentials = credentials

    def environment(self, env: Mapping[str, Any], now: datetime) -> Environment:
        """The environment that a secret key opens."""
        found = _KEY.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
        environment = self._access.environment_by_key(found[1], now) if found else None
        if environment is None:
            raise Problem("UNAUTHORIZED")
        return environment

    def executor(self, env: Mapping[str, Any]) -> ExecutorIdentity:
        """The executor that a credential names."""
        found = _CREDENTIAL.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
        if not found:
            raise Problem("CREDENTIAL_REFUSED")
        try:
            return self._credentials.executor(found[1])
        except CredentialRefused:
            raise Problem("CREDENTIAL_REFUSED") from None
