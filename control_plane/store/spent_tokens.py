"""Public tokens that work once, by their hashes, from their use to their end. The first to write one has used it."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.store.database import Database


class SpentTokens:
    """In PostgreSQL and not in Redis, which may be emptied at any moment: a token would work again."""

    def __init__(self, database: Database):
        self._database = database

    def spend(
        self, hash: str, environment_id: str, request_key: str | None, now: datetime, since: datetime, until: datetime
    ) -> bool | None:
        """True: it was not used before. False: the request with that key used it after `since`, and comes again.

        None: another did, or it did before then, so that what it made is not found by its key any more.
        """
        rows = self._database.rows(
            "INSERT INTO spent_tokens (hash, environment_id, request_key, at, expires_at) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (hash) DO UPDATE SET repeated = true"
            " WHERE spent_tokens.request_key = excluded.request_key AND spent_tokens.at > %s RETURNING repeated",
            hash,
            environment_id,
            request_key,
            now,
            until,
            since,
        )
        return not rows[0]["repeated"] if rows else None

    def give_back(self, hash: str) -> None:
        """As if it had not been used; not if the request was repeated, since the repetition may have had its way."""
        self._database.rows("DELETE FROM spent_tokens WHERE hash = %s AND NOT repeated", hash)

    def has_made(self, hash: str, thing: str) -> None:
        """Keeps what it was used for."""
        self._database.rows("UPDATE spent_tokens SET made = %s WHERE hash = %s", thing, hash)

    def made(self, hash: str) -> str | None:
        """What it was used for."""
        rows = self._database.rows("SELECT made FROM spent_tokens WHERE hash = %s", hash)
        return rows[0]["made"] if rows else None

    def forget_over(self, now: datetime, limit: int) -> int:
        """Deletes tokens that have ended, which work no more anyway."""
        rows = self._database.rows(
            "DELETE FROM spent_tokens WHERE hash = ANY(ARRAY("
            "SELECT hash FROM spent_tokens WHERE expires_at < %s ORDER BY expires_at LIMIT %s)) RETURNING hash",
            now,
            limit,
        )
        return len(rows)
