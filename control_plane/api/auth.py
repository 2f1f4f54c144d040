"""Who calls: an environment by a key or a public token, an executor by its credential, an allocation by its identity.

Every bad one of a kind gets the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs

from sojourn.control_plane.api.naming import is_named, slug_of
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.visitor import Visitor
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.errors import CredentialRefused
from sojourn.control_plane.engine.identities import Claims, Identities
from sojourn.control_plane.engine.public_tokens import PublicTokens
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import PersonalToken

_KEY = re.compile(r"(?i:Bearer) +(tr_[A-Za-z0-9_]{8,200})")
_PERSONAL = re.compile(r"(?i:Bearer) +(tr_[po]at_[A-Za-z0-9]{8,200})")
_PUBLIC_TOKEN = re.compile(r"(?i:Bearer) +([A-Za-z0-9_-]{1,2000}\.[A-Za-z0-9_-]{1,14000}\.[A-Za-z0-9_-]{1,200})")
_CREDENTIAL = re.compile(r"(?i:Bearer) +([A-Za-z0-9_=-]{1,2000}\.[0-9a-f]{64})")
_IDENTITY = re.compile(r"(?i:Bearer) +([A-Za-z0-9_-]{1,2000}\.[A-Za-z0-9_-]{1,4000}\.[A-Za-z0-9_-]{1,2000})")


class Caller(StrEnum):
    """Who may call a route."""

    ANYONE = "anyone"
    ENVIRONMENT = "an environment's secret key"
    PROJECT = "an environment's secret key, or a personal or an organization token"
    PERSON = "a personal or an organization token"
    EXECUTOR = "an executor's credential"
    ALLOCATION = "an allocation's workload identity"


class Gate:
    """Opens for what a request's `Authorization` header holds; `Problem` 401 otherwise."""

    def __init__(self, access: Access, tokens: PublicTokens, credentials: Credentials, identities: Identities):
        self._access = access
        self._tokens = tokens
        self._credentials = credentials
        self._identities = identities

    def opens(self, caller: Caller) -> Callable[[Mapping[str, Any], datetime, Mapping[str, str]], Any] | None:
        """What says who calls, out of a request's environment, the time, and its path's parts; None where anyone may."""
        return {
            Caller.ENVIRONMENT: self.environment,
            Caller.PROJECT: self.project,
            Caller.PERSON: self.person,
            Caller.EXECUTOR: self.executor,
            Caller.ALLOCATION: self.allocation,
        }.get(caller)

    def environment(self, env: Mapping[str, Any], now: datetime, path: Mapping[str, str]) -> Visitor:
        """The environment that a secret key or a public token opens, and how much of it."""
        shown = env.get("HTTP_AUTHORIZATION", "")
        key = _KEY.fullmatch(shown)
        if key is not None:
            opened = self._access.keys.opened_by(key[1], now)
            if opened is not None:
                return Visitor(
                    opened.environment, opened.scopes, expires_at=opened.expires_at, is_replaced=opened.is_replaced
                )
        elif token := _PUBLIC_TOKEN.fullmatch(shown):
            found = self._tokens.verify(token[1], now)
            return Visitor(found.environment, found.scopes, found)
        raise Problem("UNAUTHORIZED")

    def project(self, env: Mapping[str, Any], now: datetime, path: Mapping[str, str]) -> Visitor:
        """The environment that the path names by `ref` and `env`, where the key is its own or the token its organization's.

        A list may name it by `filter[env]` instead. `Problem` 404 where it is another's.
        """
        named = path.get("env") or _filtered(env.get("QUERY_STRING", ""))
        if _PERSONAL.fullmatch(env.get("HTTP_AUTHORIZATION", "")):
            organization = self.person(env, now, path).organization_id
            found = self._access.environment_of(organization, path["ref"], slug_of(named))
            if found is None:
                raise Problem("PROJECT_NOT_FOUND")
            return Visitor(found)
        visitor = self.environment(env, now, path)
        if not is_named(visitor.environment, path["ref"], named or None):
            raise Problem("PROJECT_NOT_FOUND")
        return visitor

    def person(self, env: Mapping[str, Any], now: datetime, path: Mapping[str, str]) -> PersonalToken:
        """Whose token it is."""
        shown = _PERSONAL.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
        found = self._access.personal_tokens.opened_by(shown[1], now) if shown else None
        if found is None:
            raise Problem("PERSONAL_TOKEN_REFUSED")
        return found

    def executor(self, env: Mapping[str, Any], now: datetime, path: Mapping[str, str]) -> ExecutorIdentity:
        """The executor that a credential names."""
        found = _CREDENTIAL.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
        if not found:
            raise Problem("CREDENTIAL_REFUSED")
        try:
            return self._credentials.executor(found[1])
        except CredentialRefused:
            raise Problem("CREDENTIAL_REFUSED") from None

    def allocation(self, env: Mapping[str, Any], now: datetime, path: Mapping[str, str]) -> Claims:
        """The allocation that a cluster vouches for."""
        found = _IDENTITY.fullmatch(env.get("HTTP_AUTHORIZATION", ""))
        if not found:
            raise Problem("IDENTITY_REFUSED")
        return self._identities.claims(found[1], now)


def _filtered(query: str) -> str:
    """The slug that a list is narrowed to, of several the first; empty if there is none."""
    first = parse_qs(query).get("filter[env]", [""])[0].split(",")[0].strip()
    return first if first.isprintable() else ""
