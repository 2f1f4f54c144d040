"""Waitpoint tokens: what a run waits for until somebody, anywhere, completes it. Made, read, completed.

A token's callback URL proves itself: whoever has it may complete that token and do nothing else.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sojourn.control_plane.domain import ids
from sojourn.control_plane.engine.errors import CallbackRefused, EngineError, WaitpointNotFound
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.triggering import REQUEST_LIFE
from sojourn.control_plane.engine.waiting import Waiting, out_of_time
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import Environment, Waitpoint
from sojourn.control_plane.store.waits import Completion, TokenFilters, TokenPage, Waits

PREFIX = "waitpoint"
#: A key may be released and taken again by others, while this one looks whom it leads to.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """`timeout`: until when it is waited for, None is for ever. `key_ttl`: how long the key leads to it, None is always.

    `request_key`: under which a client asks once, however often it has to send that.
    """

    timeout: datetime | None = None
    idempotency_key: str | None = None
    key_ttl: timedelta | None = None
    tags: Sequence[str] = ()
    request_key: str | None = None


@dataclass(frozen=True, slots=True)
class MadeToken:
    """`cached`: an idempotency key led to one that was there before."""

    token: Waitpoint
    url: str
    cached: bool


class Tokens:
    """`api_url` is where the API is reached from outside: callback URLs begin with it."""

    def __init__(
        self,
        waits: Waits,
        waiting: Waiting,
        access: Access,
        index: Index,
        api_url: str,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._waits = waits
        self._waiting = waiting
        self._access = access
        self._index = index
        self._api_url = api_url.rstrip("/")
        self._random = random

    def create(self, environment: Environment, request: TokenRequest, now: datetime) -> MadeToken:
        """A new token, or the one that its key leads to already."""
        token = self._new(environment, request, now)
        for _ in range(_TRIES):
            if self._waits.make_token(token, request.request_key):
                self._begin(token, now)
                return MadeToken(token, self.url(token, now), cached=False)
            if request.request_key is not None:
                self._waits.forget_request(environment.id, request.request_key, now - REQUEST_LIFE)
            found = self._made_before(environment, token, request.request_key)
            if found is not None:
                return MadeToken(found, self.url(found, now), cached=False)
            if token.idempotency_key is not None:
                holder = self._waits.token_by_key(environment.id, token.idempotency_key)
                if holder is not None:
                    return MadeToken(holder, self.url(holder, now), cached=True)
        raise EngineError("the token could not be stored: try again")

    def find(self, environment: Environment, token_id: str) -> Waitpoint:
        """A token. `WaitpointNotFound`."""
        token = self._waits.token(environment.id, token_id) if ids.is_id(token_id, PREFIX) else None
        if token is None:
            raise WaitpointNotFound
        return token

    def page(
        self, environment: Environment, filters: TokenFilters, after: str | None, before: str | None, size: int
    ) -> TokenPage:
        """A page of tokens, newest first."""
        return self._waits.tokens(environment.id, filters, after=after, before=before, size=size)

    def complete(self, environment: Environment, token_id: str, output: str | None, now: datetime) -> None:
        """Completes a token with JSON text; one that is complete stays as it is. `WaitpointNotFound`."""
        self._complete(self.find(environment, token_id), "api", output, now)

    def by_callback(self, token_id: str, given: str) -> Waitpoint:
        """The token that a callback URL stands for. `WaitpointNotFound`, `CallbackRefused`.

        Root keys that were replaced since the token was made count for it; those that were revoked do not.
        """
        token = self._waits.any_token(token_id) if ids.is_id(token_id, PREFIX) else None
        if token is None:
            raise WaitpointNotFound
        keys = self._access.keys.roots_since(token.environment_id, token.created_at)
        shown = given.encode("utf-8", "surrogatepass")
        if not any(hmac.compare_digest(shown, _hash(token, key.text).encode()) for key in keys):
            raise CallbackRefused
        return token

    def call_back(self, token: Waitpoint, output: str, now: datetime) -> None:
        """Completes a token that `by_callback` gave."""
        self._complete(token, "callback", output, now)

    def url(self, token: Waitpoint, now: datetime) -> str:
        """A POST to it completes the token, without a key."""
        return self.urls([token], now)[0]

    def urls(self, tokens: Sequence[Waitpoint], now: datetime) -> list[str]:
        """Those of some tokens of one environment."""
        key = self._access.keys.root(tokens[0].environment_id, now) if tokens else ""
        path = f"{self._api_url}/api/v1/waitpoints/tokens"
        return [f"{path}/{token.id}/callback/{_hash(token, key)}" for token in tokens]

    def _complete(self, token: Waitpoint, by: str, output: str | None, now: datetime) -> None:
        media_type = None if output is None else "application/json"
        self._waiting.complete([Completion(now, by, token.id, output=output, output_type=media_type)], now)

    def _made_before(self, environment: Environment, token: Waitpoint, request_key: str | None) -> Waitpoint | None:
        """What the same statement, or the same request, has made: the first answer was lost."""
        if request_key is not None:
            made = self._waits.token_by_request(environment.id, request_key)
            if made is not None:
                return made
        return self._waits.token(environment.id, token.id)

    def _begin(self, token: Waitpoint, now: datetime) -> None:
        if token.due_at is None:
            return
        if token.due_at <= now:
            self._waiting.complete([out_of_time(token.id, now)], now)
        else:
            self._index.ring("waker")

    def _new(self, environment: Environment, request: TokenRequest, now: datetime) -> Waitpoint:
        expires = now + request.key_ttl if request.idempotency_key and request.key_ttl is not None else None
        return Waitpoint(
            id=ids.make(PREFIX, now, self._random(ids.RANDOM_BYTES)),
            organization_id=environment.organization_id,
            environment_id=environment.id,
            kind="token",
            status="PENDING",
            due_at=request.timeout,
            run_id=None,
            idempotency_key=request.idempotency_key,
            idempotency_expires_at=expires,
            tags=sorted(set(request.tags)),
            output=None,
            output_type=None,
            is_error=False,
            completed_by=None,
            created_at=now,
            completed_at=None,
        )


def _hash(token: Waitpoint, key: str) -> str:
    message = token.id.removeprefix(f"{PREFIX}_")
    return hmac.new(key.encode(), message.encode(), sha256).hexdigest()
