"""Public tokens: what a browser may hold. A JWT by HS256 that says which environment, and what of it, for how long.

An environment's root key signs them, so that whoever holds that key makes them by themselves; a key that was replaced and
still opens counts as well. Their form is that of the existing clients.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from jwt.algorithms import HMACAlgorithm

from sojourn.control_plane.domain import ids, scopes
from sojourn.control_plane.engine.errors import PublicTokenRefused, PublicTokenSpent
from sojourn.control_plane.engine.triggering import REQUEST_LIFE
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import Environment
from sojourn.control_plane.store.spent_tokens import SpentTokens

ISSUER, AUDIENCE = "https://id.trigger.dev", "https://api.trigger.dev"
ALGORITHM = "HS256"
#: Bytes of a whole token.
MAX_BYTES = 16 * 1024
#: How far the clocks of whoever signs and of the database may be apart.
_LEEWAY = timedelta(seconds=60)


class _RootKeyHmac(HMACAlgorithm):
    """A root key is shorter than a hash, which is warned of each time: its 24 random characters are 142 bits."""

    def check_key_length(self, key: Any) -> None:
        return None


_JWS = jwt.PyJWS(algorithms=[])
_JWS.register_algorithm(ALGORITHM, _RootKeyHmac(HMACAlgorithm.SHA256))


@dataclass(frozen=True, slots=True)
class PublicToken:
    """A token that was verified. `hash` is of what its signature covers: the same token written otherwise has the same.

    `once`: it works for one request. `skip_columns`: what a feed of runs leaves out for it.
    """

    environment: Environment
    scopes: tuple[str, ...]
    expires_at: datetime
    hash: str
    once: bool = False
    skip_columns: tuple[str, ...] = ()


class PublicTokens:
    """Verified, made, and used once where they say so."""

    def __init__(self, access: Access, spent: SpentTokens):
        self._access = access
        self._spent = spent

    def verify(self, text: str, now: datetime) -> PublicToken:
        """What a token grants. `PublicTokenRefused` says why it grants nothing, once its signature is right."""
        told = _unverified(text)
        environment = self._access.environment(told["sub"], now)
        if environment is None or not self._has_signed(environment, text, now):
            raise PublicTokenRefused("no key of this installation has signed the token, or none that still counts")
        return PublicToken(
            environment,
            _scopes(told),
            _end(told, now),
            hashlib.sha256(text.rpartition(".")[0].encode()).hexdigest(),
            told.get("otu") is True,
            _skipped(told),
        )

    def _has_signed(self, environment: Environment, text: str, now: datetime) -> bool:
        """Whether a root key has, also one that is newer than what was looked up a moment ago."""
        roots = self._access.keys.roots
        return any(_is_signed(text, root.text) for anew in (False, True) for root in roots(environment.id, now, anew=anew))

    def mint(
        self,
        environment: Environment,
        granted: Sequence[str],
        life: timedelta,
        now: datetime,
        *,
        once: bool = False,
        skip_columns: Sequence[str] = (),
        is_handle: bool = False,
    ) -> str:
        """A new token. `is_handle`: it comes with each run, and is not worth a query."""
        claims: dict[str, Any] = {"sub": environment.id, "pub": True, "scopes": list(granted)}
        if once:
            claims |= {"otu": True, "jti": os.urandom(12).hex()}
        if skip_columns:
            claims["realtime"] = {"skipColumns": list(skip_columns)}
        since = now.timestamp()
        claims |= {"iss": ISSUER, "aud": AUDIENCE, "iat": int(since), "exp": int(since + life.total_seconds())}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        keys = self._access.keys
        root = keys.recent_root(environment.id, now) if is_handle else keys.root(environment.id, now)
        return _JWS.encode(payload, root, algorithm=ALGORITHM)

    # --- tokens that work once

    def spend(self, token: PublicToken, request_key: str | None, now: datetime) -> bool:
        """Uses a token up. `PublicTokenSpent` if it was, but by the same request (`request_key`): then False."""
        until = token.expires_at + _LEEWAY
        since = now - REQUEST_LIFE
        first = self._spent.spend(token.hash, token.environment.id, request_key, now, since, until)
        if first is None:
            raise PublicTokenSpent
        return first

    def give_back(self, token: PublicToken) -> None:
        """The request that used a token was refused before it did anything: the token is as it was."""
        self._spent.give_back(token.hash)

    def has_made(self, token: PublicToken, thing: str) -> None:
        """What a token was used for."""
        self._spent.has_made(token.hash, thing)

    def check_made(self, token: PublicToken, thing: str) -> None:
        """`PublicTokenSpent` unless the token has made that, and may go on with it."""
        if self._spent.made(token.hash) != thing:
            raise PublicTokenSpent


def _unverified(text: str) -> Mapping[str, Any]:
    """What a token says; `PublicTokenRefused` for what is no public token."""
    try:
        if len(text) > MAX_BYTES:
            raise ValueError
        head, body, _ = text.split(".")
        header, told = _json(head), _json(body)
    except (ValueError, RecursionError):
        raise PublicTokenRefused("the text is no public token") from None
    sub = told.get("sub")
    known = isinstance(sub, str) and ids.is_id(sub, "env")
    if header.get("alg") != ALGORITHM or told.get("pub") is not True or not known:
        raise PublicTokenRefused("the text is no public token")
    return told


def _is_signed(text: str, key: str) -> bool:
    try:
        _JWS.decode(text, key, algorithms=[ALGORITHM])
    except (jwt.PyJWTError, ValueError):
        return False
    return True


def _end(told: Mapping[str, Any], now: datetime) -> datetime:
    """When it is over, for a token that is for this API and counts now."""
    audience = told.get("aud")
    if told.get("iss") != ISSUER or not (audience == AUDIENCE or (isinstance(audience, list) and AUDIENCE in audience)):
        raise PublicTokenRefused("the token is for somebody else: its `iss` or `aud` is another")
    begins, ends = _moment(told.get("nbf", 0)), _moment(told.get("exp"))
    if begins is None or ends is None:
        raise PublicTokenRefused("the token does not say in numbers when it ends")
    if ends <= now:
        raise PublicTokenRefused("the token has expired", next_step="get a new one from your backend")
    if begins > now + _LEEWAY:
        raise PublicTokenRefused("the token is not valid yet")
    return ends


def _scopes(told: Mapping[str, Any]) -> tuple[str, ...]:
    given = told.get("scopes", [])
    if not isinstance(given, list) or any(not isinstance(each, str) for each in given):
        raise PublicTokenRefused("the token's `scopes` are no list of texts")
    return tuple(each for each in given if scopes.is_scope(each))


def _skipped(told: Mapping[str, Any]) -> tuple[str, ...]:
    realtime = told.get("realtime")
    columns = realtime.get("skipColumns") if isinstance(realtime, dict) else None
    return tuple(each for each in columns if isinstance(each, str)) if isinstance(columns, list) else ()


def _moment(seconds: Any) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _json(part: str) -> dict[str, Any]:
    value = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(value, dict):
        raise ValueError
    return value
