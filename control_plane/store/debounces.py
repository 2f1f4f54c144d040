"""Which run a debounce key leads to. Whoever holds a key's row decides; others of the key wait for that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sojourn.control_plane.store.database import Database, Row

#: Requests that are remembered: a client sends one again within seconds.
_REQUESTS = 20
_REMEMBERED = "requests = (requests || %s::text)[greatest(cardinality(requests) + 2 - %s, 1):]"
#: What decides whether a run can still be put off, and what its start is.
_STANDING = "r.id, r.status, r.snapshot_status, coalesce(r.available_at, r.delayed_until, r.created_at) AS start_at"


def answered(requests: Sequence[str], request_key: str | None) -> str | None:
    """The run that a request was answered with before, if that is remembered."""
    found = (run for key, _, run in (each.partition(" ") for each in requests) if key == request_key)
    return next(found, None)


class Debounces:
    """`hold`, `lead`, `standing` and `put_off` belong into one transaction. `requests`: see `answered`."""

    def __init__(self, database: Database):
        self._database = database

    def look(self, environment_id: str, name: str) -> Row | None:
        """The run that a key leads to as it stands now, with `first_at` and `requests`; nothing is held."""
        rows = self._database.rows(
            f"SELECT {_STANDING}, d.first_at, d.requests FROM debounces d JOIN runs r ON r.id = d.run_id"  # noqa: S608
            " WHERE d.environment_id = %s AND d.name = %s",
            environment_id,
            name,
        )
        return rows[0] if rows else None

    def hold(self, environment_id: str, name: str, run_id: str, now: datetime) -> Row:
        """Holds a key, which leads to `run_id` from now on unless it leads to another: `run_id`, `first_at`, `requests`."""
        rows = self._database.rows(
            "INSERT INTO debounces AS d (environment_id, name, run_id, first_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (environment_id, name) DO UPDATE SET run_id = d.run_id"
            " RETURNING d.run_id, d.first_at, d.requests",
            environment_id,
            name,
            run_id,
            now,
        )
        return rows[0]

    def remember(self, environment_id: str, name: str, request_key: str, run_id: str, *, waits: bool = True) -> None:
        """A request was answered with that run. Not `waits`: where others hold the key, that is not written down."""
        self._database.rows(
            f"UPDATE debounces SET {_REMEMBERED} WHERE (environment_id, name) = (SELECT environment_id, name"  # noqa: S608
            " FROM debounces WHERE environment_id = %s AND name = %s FOR UPDATE" + ("" if waits else " SKIP LOCKED") + ")",
            f"{request_key} {run_id}",
            _REQUESTS,
            environment_id,
            name,
        )

    def lead(self, environment_id: str, name: str, run_id: str, now: datetime) -> None:
        """A key that is held leads to another run."""
        self._database.rows(
            "UPDATE debounces SET run_id = %s, first_at = %s WHERE environment_id = %s AND name = %s",
            run_id,
            now,
            environment_id,
            name,
        )

    def standing(self, environment_id: str, run_id: str) -> Row | None:
        """Where a run stands; it moves no further before the transaction is over."""
        rows = self._database.rows(
            f"SELECT {_STANDING} FROM runs r WHERE r.id = %s AND r.environment_id = %s FOR UPDATE",  # noqa: S608
            run_id,
            environment_id,
        )
        return rows[0] if rows else None

    def put_off(self, run_id: str, start: datetime, now: datetime) -> None:
        """A run that waits starts then. That is no move: whoever queues it looks whether its time has come."""
        self._database.rows(
            "UPDATE runs SET ttl_expires_at = ttl_expires_at + (%s - coalesce(delayed_until, created_at)),"
            " available_at = %s, delayed_until = %s, queued_at = %s, updated_at = greatest(updated_at, %s) WHERE id = %s",
            start,
            start,
            start,
            start,
            now,
            run_id,
        )

    def replace(self, run_id: str, payload: str | None, payload_type: str, named: Mapping[str, Any]) -> None:
        """A run that waits has that payload; and of metadata, tags, machine and limits those that are `named`."""
        self._database.rows(
            "WITH before AS (SELECT payload, payload_type FROM runs WHERE id = %s),"
            " packets AS (INSERT INTO gone_packets SELECT payload FROM before WHERE payload_type = 'application/store'"
            " ON CONFLICT DO NOTHING) UPDATE runs r SET payload = %s, payload_type = %s,"
            " (metadata, tags, machine, max_attempts, max_duration) ="
            " (SELECT p.metadata, p.tags, p.machine, p.max_attempts, p.max_duration"
            " FROM jsonb_populate_record(r, %s::jsonb) p),"
            # What a version is still to supply, and what the trigger said for it.
            " asked = r.asked || (%s::jsonb - 'metadata' - 'tags') WHERE r.id = %s",
            run_id,
            payload,
            payload_type,
            json.dumps(dict(named)),
            json.dumps(dict(named)),
            run_id,
        )
