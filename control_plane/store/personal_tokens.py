"""Tokens of people (`tr_pat_…`) and organizations (`tr_oat_…`): each opens all of an organization. Only hashes are kept."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Literal

from sojourn.control_plane.domain import ids
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.keys import hint
from sojourn.control_plane.store.recent import Recent
from sojourn.control_plane.store.records import PersonalToken, build
from sojourn.control_plane.store.seal import hashed
from sojourn.control_plane.store.secret_texts import organization_token, personal_token

PREFIX = "pat"
Kind = Literal["personal", "organization"]
_USED = timedelta(minutes=1)


class PersonalTokens:
    """What is revoked here opens nothing in other processes within `recent.SECONDS`."""

    def __init__(self, database: Database):
        self._database = database
        self._opened: Recent[PersonalToken] = Recent()

    def opened_by(self, secret: str, now: datetime) -> PersonalToken | None:
        """The token that a secret is; None for one that is unknown, revoked or expired."""
        name = hashed(secret)
        kept = self._opened.get(name, now)
        if kept is not None and (kept.expires_at is None or kept.expires_at > now):
            return kept
        rows = self._database.rows(
            "SELECT * FROM personal_tokens WHERE hash = %s AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > %s)",
            name,
            now,
        )
        if not rows:
            self._opened.forget(name)
            return None
        found = build(PersonalToken, rows[0])
        if found.last_used_at is None or found.last_used_at < now - _USED:
            self._database.rows("UPDATE personal_tokens SET last_used_at = %s WHERE id = %s", now, found.id)
        return self._opened.keep(name, found, now)

    def create(
        self,
        organization_id: str,
        now: datetime,
        *,
        kind: Kind = "personal",
        name: str | None = None,
        until: datetime | None = None,
    ) -> tuple[PersonalToken, str]:
        """A new token, and its secret, which is kept nowhere in clear."""
        secret = personal_token() if kind == "personal" else organization_token()
        rows = self._database.rows(
            "INSERT INTO personal_tokens (id, organization_id, kind, hash, hint, name, created_at, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING *",
            ids.make(PREFIX, now, secrets.token_bytes(ids.RANDOM_BYTES)),
            organization_id,
            kind,
            hashed(secret),
            hint(secret),
            name,
            now,
            until,
        )
        return build(PersonalToken, rows[0]), secret

    def all(self, organization_id: str, limit: int) -> list[PersonalToken]:
        """An organization's tokens, newest first."""
        rows = self._database.rows(
            "SELECT * FROM personal_tokens WHERE organization_id = %s ORDER BY created_at DESC, id LIMIT %s",
            organization_id,
            limit,
        )
        return [build(PersonalToken, row) for row in rows]

    def revoke(self, organization_id: str, token_id: str, now: datetime) -> PersonalToken | None:
        """Ends a token at once; None for one that is not there."""
        rows = self._database.rows(
            "UPDATE personal_tokens SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s AND organization_id = %s"
            " RETURNING *",
            now,
            token_id,
            organization_id,
        )
        self._opened.clear()
        return build(PersonalToken, rows[0]) if rows else None
