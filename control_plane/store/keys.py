"""Secret keys of environments: looked up by their hash; root keys are sealed as well, since they sign public tokens.

Nothing here returns a hash or a sealed text. What is changed here is seen by other processes within `recent.SECONDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.recent import Recent
from sojourn.control_plane.store.records import ApiKey, Environment, build
from sojourn.control_plane.store.seal import Seal, hashed

#: A query of environments with the names around them.
ENVIRONMENTS = """
SELECT {more}e.id, e.slug, e.type, e.paused, o.id AS organization_id, o.slug AS organization_slug,
    o.name AS organization_name, p.id AS project_id, p.ref AS project_ref, p.slug AS project_slug,
    p.name AS project_name
FROM environments e JOIN projects p ON p.id = e.project_id JOIN organizations o ON o.id = e.organization_id
"""
_OPENED = ENVIRONMENTS.format(more="k.id AS key_id, k.scopes, k.expires_at, k.replaced_by, k.last_used_at, ") + (
    "JOIN api_keys k ON k.environment_id = e.id WHERE k.hash = ANY(%s) AND k.revoked_at IS NULL"
    " AND (k.expires_at IS NULL OR k.expires_at > %s)"
)
#: Goes before the hash of a key that may do a part: releases that know no scopes do not find it, and refuse it.
_PART = "part:"
#: How exactly it is known when a key was used last.
_USED = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a key opens. `scopes` None: it may do everything there. `is_replaced`: another is in its place."""

    environment: Environment
    key_id: str
    scopes: tuple[str, ...] | None
    expires_at: datetime | None
    is_replaced: bool


@dataclass(frozen=True, slots=True)
class RootKey:
    """A root key in clear. One that was replaced counts `until` then."""

    text: str
    until: datetime | None


class Keys:
    """An environment has one root key at a time, and besides it those that a rotation replaced and that still open."""

    def __init__(self, database: Database, seal: Seal):
        self._database = database
        self._seal = seal
        self._opened: Recent[Opened] = Recent()
        self._roots: Recent[list[RootKey]] = Recent()

    # --- opening

    def opened_by(self, secret: str, now: datetime) -> Opened | None:
        """What a secret key opens; None for one that is unknown, revoked or expired."""
        name = hashed(secret)
        kept = self._opened.get(name, now)
        if kept is not None and (kept.expires_at is None or kept.expires_at > now):
            return kept
        rows = self._database.rows(_OPENED, [name, _PART + name], now)
        if not rows:
            self._opened.forget(name)
            return None
        row = rows[0]
        if row["last_used_at"] is None or row["last_used_at"] < now - _USED:
            self._was_used(row["key_id"], now)
        scopes = None if row["scopes"] is None else tuple(row["scopes"])
        replaced = row["replaced_by"] is not None
        opened = Opened(build(Environment, row), row["key_id"], scopes, row["expires_at"], replaced)
        return self._opened.keep(name, opened, now)

    def roots(self, environment_id: str, now: datetime, *, anew: bool = False) -> list[RootKey]:
        """What may have signed a public token: the root key, then those that it replaced and that still open.

        Empty for an environment that is not there. `anew`: not as they were a moment ago.
        """
        kept = None if anew else self._roots.get(environment_id, now)
        if kept is None:
            kept = self.roots_since(environment_id, now)
            if kept:
                self._roots.keep(environment_id, kept, now)
        return [key for key in kept if key.until is None or key.until > now]

    def root(self, environment_id: str, now: datetime) -> str:
        """An environment's root key in clear: always the one of this moment, since what it signs is to last."""
        return self.roots(environment_id, now, anew=True)[0].text

    def recent_root(self, environment_id: str, now: datetime) -> str:
        """The root key as it was a moment ago: for what is made very often, and lives for minutes."""
        return self.roots(environment_id, now)[0].text

    def roots_since(self, environment_id: str, moment: datetime) -> list[RootKey]:
        """The root keys that counted at that moment or later and were not revoked."""
        rows = self._database.rows(
            "SELECT sealed, expires_at FROM api_keys WHERE environment_id = %s AND is_root AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > %s) ORDER BY replaced_by IS NOT NULL, created_at DESC",
            environment_id,
            moment,
        )
        return [RootKey(self._seal.open(row["sealed"], environment_id), row["expires_at"]) for row in rows]

    # --- written

    def add(
        self,
        key_id: str,
        environment_id: str,
        secret: str,
        now: datetime,
        *,
        is_root: bool = False,
        name: str | None = None,
        scopes: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        request_key: str | None = None,
    ) -> ApiKey | None:
        """Stores a new key; None if one was made for the same request."""
        rows = self._database.rows(
            "INSERT INTO api_keys (id, environment_id, is_root, hash, sealed, hint, name, scopes, created_at, expires_at,"
            " request_key, request_sealed) VALUES (%s, %s, %s, %s, %s, %s, %s, %s::text[], %s, %s, %s, %s)"
            " ON CONFLICT (environment_id, request_key) WHERE request_key IS NOT NULL DO NOTHING RETURNING *",
            key_id,
            environment_id,
            is_root,
            hashed(secret) if scopes is None else _PART + hashed(secret),
            self._seal.close(secret, environment_id) if is_root else None,
            hint(secret),
            name,
            None if scopes is None else list(scopes),
            now,
            expires_at,
            request_key,
            None if request_key is None else self._seal.close(secret, environment_id),
        )
        return build(ApiKey, rows[0]) if rows else None

    def by_request(self, environment_id: str, request_key: str, after: datetime) -> tuple[ApiKey, str] | None:
        """The key that was made for a request since then, and its secret. What was kept of an older one is dropped."""
        self.forget_requests(after, environment_id, request_key)
        rows = self._database.rows(
            "SELECT * FROM api_keys WHERE environment_id = %s AND request_key = %s", environment_id, request_key
        )
        if not rows:
            return None
        return build(ApiKey, rows[0]), self._seal.open(rows[0]["request_sealed"], environment_id)

    def forget_requests(self, before: datetime, environment_id: str | None = None, request_key: str | None = None) -> int:
        """Drops the secrets of keys that were made before then, which a repeated request would be shown; of one, or all."""
        rows = self._database.rows(
            "UPDATE api_keys SET request_key = NULL, request_sealed = NULL WHERE request_key IS NOT NULL"
            " AND created_at <= %s AND coalesce(environment_id = %s AND request_key = %s, true) RETURNING id",
            before,
            environment_id,
            request_key,
        )
        return len(rows)

    def replace(
        self,
        key: ApiKey,
        key_id: str,
        secret: str,
        until: datetime,
        now: datetime,
        request_key: str | None = None,
    ) -> ApiKey | None:
        """Stores a key like another, which opens `until` then; None if that one was replaced or revoked meanwhile."""
        with self._database.transaction():
            rows = self._database.rows(
                "UPDATE api_keys SET replaced_by = %s, expires_at = least(%s, expires_at),"
                " revoked_at = CASE WHEN %s THEN %s END"
                " WHERE id = %s AND replaced_by IS NULL AND revoked_at IS NULL RETURNING id",
                key_id,
                until,
                until <= now,
                now,
                key.id,
            )
            if not rows:
                return None
            made = self.add(
                key_id,
                key.environment_id,
                secret,
                now,
                is_root=key.is_root,
                name=key.name,
                scopes=key.scopes,
                expires_at=key.expires_at,
                request_key=request_key,
            )
        self._look_again()
        return made

    def revoke(self, environment_id: str, key_id: str, now: datetime) -> bool:
        """Ends a key at once; whether it is there. The root key that counts stays."""
        rows = self._database.rows(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, %s)"
            " WHERE id = %s AND environment_id = %s AND NOT (is_root AND replaced_by IS NULL) RETURNING id",
            now,
            key_id,
            environment_id,
        )
        self._look_again()
        return bool(rows)

    # --- read

    def find(self, environment_id: str, key_id: str) -> ApiKey | None:
        """A key of that environment."""
        rows = self._database.rows("SELECT * FROM api_keys WHERE id = %s AND environment_id = %s", key_id, environment_id)
        return build(ApiKey, rows[0]) if rows else None

    def all(self, environment_id: str, since: datetime, limit: int, now: datetime) -> list[ApiKey]:
        """The keys that open, then those that have ended since then; of each root keys first, then the newest."""
        rows = self._database.rows(
            "SELECT * FROM api_keys WHERE environment_id = %s"
            " AND coalesce(least(revoked_at, expires_at), 'infinity') > %s"
            " ORDER BY coalesce(least(revoked_at, expires_at), 'infinity') > %s DESC, is_root DESC, created_at DESC, id"
            " LIMIT %s",
            environment_id,
            since,
            now,
            limit,
        )
        return [build(ApiKey, row) for row in rows]

    def count(self, environment_id: str, now: datetime) -> int:
        """How many keys open."""
        rows = self._database.rows(
            "SELECT count(*) AS n FROM api_keys WHERE environment_id = %s AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > %s)",
            environment_id,
            now,
        )
        return int(rows[0]["n"])

    def forget_ended(self, before: datetime, limit: int) -> int:
        """Deletes keys that ended before then. Replaced root keys stay: callback URLs still bear their mark."""
        rows = self._database.rows(
            "DELETE FROM api_keys WHERE id = ANY(ARRAY(SELECT id FROM api_keys WHERE least(revoked_at, expires_at) < %s"
            " AND (NOT is_root OR revoked_at IS NOT NULL) LIMIT %s)) RETURNING id",
            before,
            limit,
        )
        return len(rows)

    def _look_again(self) -> None:
        """This process at least knows at once."""
        self._opened.clear()
        self._roots.clear()

    def _was_used(self, key_id: str, now: datetime) -> None:
        self._database.rows(
            "UPDATE api_keys SET last_used_at = %s WHERE id = %s AND (last_used_at IS NULL OR last_used_at < %s)",
            now,
            key_id,
            now - _USED,
        )


def hint(secret: str) -> str:
    """A secret as people may see it: its prefix and its last four characters."""
    prefix = secret[: secret.rindex("_") + 1]
    return f"{prefix}…{secret[-4:]}"
