"""Who asks: an environment's secret key, or an executor's credential. Every refusal looks the same."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import falcon

from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.errors import CredentialRefused
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import Environment


class Caller(StrEnum):
    """Who may call a route."""

    ANYONE = "anyone"
    KEY = "an environment's secret key"
    EXECUTOR = "an executor's credential"


def bearer(request: falcon.Request) -> str:
    """The credential of a request; "" where there is none."""
    header = request.get_header("Authorization") or ""
    kind, _, credential = header.partition(" ")
    return credential.strip() if kind.lower() == "bearer" else ""


def environment(request: falcon.Request, access: Access, now: datetime) -> Environment:
    """The environment that the request's key opens."""
    key = bearer(request)
    found = access.environment_by_key(key, now) if key.startswith("tr_") and len(key) < 256 else None
    if found is None:
        raise Problem("UNAUTHORIZED")
    return found


def executor(request: falcon.Request, credentials: Credentials) -> ExecutorIdentity:
    """The executor whose credential it is."""
    try:
        return credentials.executor(bearer(request))
    except (CredentialRefused, ValueError, TypeError):
        raise Problem("CREDENTIAL_REFUSED") from None
