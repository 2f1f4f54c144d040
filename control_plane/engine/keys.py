"""Secret keys of an environment: made, listed, replaced while the old one still opens, revoked.

Nobody hands on more than they have: whoever makes or replaces a key holds every scope of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sojourn.control_plane.domain import ids, scopes
from sojourn.control_plane.engine.errors import (
    ApiKeyNotFound,
    ApiKeyOver,
    RootKeyStays,
    ScopesExceeded,
    TooManyApiKeys,
)
from sojourn.control_plane.store.keys import Keys as StoredKeys
from sojourn.control_plane.store.records import ApiKey, Environment
from sojourn.control_plane.store.secret_texts import additional_key, root_key

PREFIX = "key"
#: How long a key that is replaced opens unless told otherwise.
GRACE = timedelta(days=1)
#: Keys of an environment that open.
MAX_KEYS = 200
#: How long keys that have ended are listed.
SHOWN_FOR = timedelta(days=30)
#: How long a repetition of a request that made a key is answered with the same, as other requests that make something.
REQUEST_LIFE = timedelta(days=1)
#: What may hand on everything.
_EVERYTHING = (scopes.ADMIN,)


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key. `secret` is kept nowhere in clear: root keys are sealed, others while a request may be repeated."""

    key: ApiKey
    secret: str


class Keys:
    """`held`: the scopes of whoever asks; None is everything."""

    def __init__(self, keys: StoredKeys, random: Callable[[int], bytes] = os.urandom):
        self._keys = keys
        self._random = random

    def list(self, environment: Environment, now: datetime) -> list[ApiKey]:
        """The keys that open, root keys first, then those that ended not long ago."""
        return self._keys.all(environment.id, now - SHOWN_FOR, 2 * MAX_KEYS, now)

    def create(
        self,
        environment: Environment,
        now: datetime,
        *,
        name: str | None = None,
        granted: Sequence[str] | None = None,
        until: datetime | None = None,
        held: Sequence[str] | None = None,
        request_key: str | None = None,
    ) -> MadeKey:
        """A new key beside the root key. `granted` None: it may do everything. `ScopesExceeded`, `TooManyApiKeys`."""
        check_handed_on(held, granted)
        self._check_room(environment, now)
        secret = additional_key(environment.slug)
        made = self._keys.add(
            self._new_id(now),
            environment.id,
            secret,
            now,
            name=name,
            scopes=granted,
            expires_at=until,
            request_key=request_key,
        )
        if made is not None:
            return MadeKey(made, secret)
        found = self.repeated(environment, request_key, now, held)
        if found is None:  # it was revoked in this moment
            raise ApiKeyOver
        return found

    def repeated(
        self, environment: Environment, request_key: str | None, now: datetime, held: Sequence[str] | None = None
    ) -> MadeKey | None:
        """The key that the same request has made before; None where there is none, or it opens no more."""
        found = None if request_key is None else self._keys.by_request(environment.id, request_key, now - REQUEST_LIFE)
        if found is None or found[0].revoked_at is not None:
            return None
        check_handed_on(held, found[0].scopes)
        return MadeKey(*found)

    def rotate(
        self,
        environment: Environment,
        key_id: str,
        grace: timedelta,
        now: datetime,
        held: Sequence[str] | None = None,
        request_key: str | None = None,
    ) -> MadeKey:
        """A key in place of another, like it, which opens for `grace` more. `ApiKeyNotFound`, `ApiKeyOver`."""
        key = self.find(environment, key_id)
        check_handed_on(held, key.scopes)
        made = None if _is_over(key, now) else self._replaced(environment, key, grace, now, request_key)
        # A repetition that came at the same time was the faster one.
        made = made or self.repeated(environment, request_key, now, held)
        if made is None:
            raise ApiKeyOver
        return made

    def _replaced(
        self, environment: Environment, key: ApiKey, grace: timedelta, now: datetime, request_key: str | None
    ) -> MadeKey | None:
        self._check_room(environment, now)
        secret = root_key(environment.slug) if key.is_root else additional_key(environment.slug)
        made = self._keys.replace(key, self._new_id(now), secret, now + grace, now, request_key)
        return None if made is None else MadeKey(made, secret)

    def revoke(self, environment: Environment, key_id: str, now: datetime, held: Sequence[str] | None = None) -> ApiKey:
        """Ends a key at once; one that has ended stays as it is. `ApiKeyNotFound`, `RootKeyStays`."""
        check_handed_on(held, self.find(environment, key_id).scopes)
        if not self._keys.revoke(environment.id, key_id, now):
            raise RootKeyStays(next_step="rotate it; a grace period of 0s ends the old one at once")
        return self.find(environment, key_id)

    def find(self, environment: Environment, key_id: str) -> ApiKey:
        """A key. `ApiKeyNotFound`."""
        key = self._keys.find(environment.id, key_id) if ids.is_id(key_id, PREFIX) else None
        if key is None:
            raise ApiKeyNotFound
        return key

    def _check_room(self, environment: Environment, now: datetime) -> None:
        if self._keys.count(environment.id, now) >= MAX_KEYS:
            raise TooManyApiKeys(f"the environment has {MAX_KEYS} secret keys", next_step="revoke those of no use")

    def _new_id(self, now: datetime) -> str:
        return ids.make(PREFIX, now, self._random(ids.RANDOM_BYTES))


def _is_over(key: ApiKey, now: datetime) -> bool:
    over = key.expires_at is not None and key.expires_at <= now
    return key.replaced_by is not None or key.revoked_at is not None or over


def check_handed_on(held: Sequence[str] | None, granted: Sequence[str] | None) -> None:
    """`ScopesExceeded` unless whoever holds scopes may do all that others would grant. None is everything."""
    if held is None:
        return
    wanted = _EVERYTHING if granted is None else granted
    denied = [scope for scope in wanted if not scopes.covers(held, scope)]
    if denied:
        raise ScopesExceeded(denied)
