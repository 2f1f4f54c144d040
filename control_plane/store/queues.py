"""Queues: declared by deployed code or named by runs; paused, and given other limits than the declared ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Queue, QueueKey, build

#: The limit that holds: a part of the environment's is never less than 1, so that it holds nobody back for good.
_LIMIT = (
    "CASE WHEN q.override_percent IS NULL THEN coalesce(q.override_limit, q.concurrency_limit)"
    " ELSE greatest(1, floor(e.concurrency_limit * q.override_percent / 100))::int END"
)
#: The same of a key that has one of its own.
_KEY_LIMIT = (
    "CASE WHEN k.override_percent IS NULL THEN k.override_limit"
    " ELSE greatest(1, floor(e.concurrency_limit * k.override_percent / 100))::int END"
)
_KEYS = "queue_keys k JOIN queues q ON q.id = k.queue_id JOIN environments e ON e.id = q.environment_id"
#: The rates that hold: as given while the code is deployed, or else as it declares them.
_RATES = "coalesce(q.rate, q.declared_rate) AS rate, coalesce(q.key_rate, q.declared_key_rate) AS key_rate"
_IS_RATED = "coalesce(q.rate, q.declared_rate, q.key_rate, q.declared_key_rate) IS NOT NULL"
_HAS_RATED_KEYS = "EXISTS (SELECT 1 FROM queue_keys k WHERE k.queue_id = q.id AND k.rate IS NOT NULL)"
_QUEUE = (
    "SELECT q.id, q.environment_id, q.name, q.paused, q.concurrency_limit AS base_limit, q.override_limit,"  # noqa: S608
    f' q.override_percent, q.overridden_at, {_LIMIT} AS "limit", e.concurrency_limit AS environment_limit,'
    f" {_RATES}"
    " FROM queues q JOIN environments e ON e.id = q.environment_id WHERE q.environment_id = %s"
)


class Queues:
    """The truth about queues; the fair queue follows it."""

    def __init__(self, database: Database):
        self._database = database

    def find(self, environment_id: str, queue_id: str) -> Queue | None:
        """The queue of that id."""
        return self._one(_QUEUE + " AND q.id = %s", environment_id, queue_id)

    def named(self, environment_id: str, name: str) -> Queue | None:
        """The queue of that name; a task's own is `task/<id>`."""
        return self._one(_QUEUE + " AND q.name = %s", environment_id, name)

    def page(self, environment_id: str, skip: int, size: int) -> list[Queue]:
        """Queues in the order of their names, after so many."""
        rows = self._database.rows(_QUEUE + " ORDER BY q.name LIMIT %s OFFSET %s", environment_id, size, skip)
        return [build(Queue, row) for row in rows]

    def count(self, environment_id: str) -> int:
        """How many queues an environment has."""
        return int(
            self._database.rows("SELECT count(*) AS n FROM queues WHERE environment_id = %s", environment_id)[0]["n"]
        )

    def add(self, queues: Collection[Mapping[str, Any]]) -> None:
        """Queues that runs name, each as `{id, environment_id, name}`; those that are there stay as they are."""
        self._database.rows(
            # Environments first, as a deployment locks them, lest each waits for the other.
            "WITH held AS MATERIALIZED (SELECT id FROM environments WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE)"
            " INSERT INTO queues (id, environment_id, name) SELECT q.id, q.environment_id, q.name"
            " FROM jsonb_to_recordset(%s::jsonb) AS q (id text, environment_id text, name text)"
            " JOIN held e ON e.id = q.environment_id ORDER BY q.environment_id, q.name"
            " ON CONFLICT (environment_id, name) DO NOTHING",
            sorted({str(each["environment_id"]) for each in queues}),
            json.dumps(list(queues)),
        )

    def pause(self, queue_id: str, paused: bool) -> None:
        """Pauses a queue, or lets it go on."""
        self._database.rows("UPDATE queues SET paused = %s WHERE id = %s", paused, queue_id)

    def override(self, queue_id: str, limit: int | None, percent: float | None, at: datetime) -> None:
        """Another limit than the declared one: a number, or a part of the environment's."""
        self._database.rows(
            "UPDATE queues SET override_limit = %s, override_percent = %s, overridden_at = %s WHERE id = %s",
            limit,
            percent,
            at,
            queue_id,
        )

    def reset(self, queue_id: str) -> bool:
        """The declared limit holds again; whether another one did."""
        return bool(
            self._database.rows(
                "UPDATE queues SET override_limit = NULL, override_percent = NULL, overridden_at = NULL"
                " WHERE id = %s AND overridden_at IS NOT NULL RETURNING id",
                queue_id,
            )
        )

    def set_rate(self, queue_id: str, rate: Mapping[str, Any] | None, *, per_key: bool) -> None:
        """How many of its runs, or of each key's, may start; None: as code declares it."""
        column = "key_rate" if per_key else "rate"
        self._database.rows(
            f"UPDATE queues SET {column} = %s::jsonb WHERE id = %s",  # noqa: S608
            None if rate is None else json.dumps(dict(rate)),
            queue_id,
        )

    # --- single keys of a queue

    def keys(self, queue_id: str) -> list[QueueKey]:
        """Those with a limit or a rate of their own, by their names."""
        rows = self._database.rows(
            f'SELECT k.key, {_KEY_LIMIT} AS "limit", k.override_percent, k.overridden_at, k.rate'  # noqa: S608
            f" FROM {_KEYS} WHERE k.queue_id = %s ORDER BY k.key",
            queue_id,
        )
        return [build(QueueKey, row) for row in rows]

    def override_key(
        self, queue_id: str, key: str, limit: int | None, percent: float | None, at: datetime, *, most: int
    ) -> bool:
        """Another limit for a key; False where `most` keys have something of their own, and it has not."""
        columns = {"override_limit": limit, "override_percent": percent, "overridden_at": at}
        return self._put_key(queue_id, key, columns, most)

    def set_key_rate(self, queue_id: str, key: str, rate: Mapping[str, Any], *, most: int) -> bool:
        """How many runs of a key may start; False as above."""
        return self._put_key(queue_id, key, {"rate": json.dumps(dict(rate))}, most)

    def reset_key(self, queue_id: str, key: str) -> bool:
        """The key has the queue's limit again; whether it had another."""
        kept = "UPDATE queue_keys SET override_limit = NULL, override_percent = NULL, overridden_at = NULL"
        return self._reset(queue_id, key, "rate IS NULL", f"{kept} WHERE overridden_at IS NOT NULL AND rate IS NOT NULL")

    def reset_key_rate(self, queue_id: str, key: str) -> None:
        """The key has the rate again that the queue gives each."""
        self._reset(
            queue_id, key, "overridden_at IS NULL", "UPDATE queue_keys SET rate = NULL WHERE overridden_at IS NOT NULL"
        )

    def _put_key(self, queue_id: str, key: str, columns: Mapping[str, Any], most: int) -> bool:
        with self._database.transaction():
            # Whoever adds another key of the queue waits, so that there are never more than may be.
            self._hold_keys(queue_id)
            names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
            set_to = ", ".join(f"{name} = excluded.{name}" for name in columns)
            rows = self._database.rows(
                f"INSERT INTO queue_keys (queue_id, key, {names}) SELECT %s, %s, {marks}"  # noqa: S608
                " WHERE EXISTS (SELECT 1 FROM queue_keys WHERE queue_id = %s AND key = %s)"
                " OR (SELECT count(*) FROM queue_keys WHERE queue_id = %s) < %s"
                f" ON CONFLICT (queue_id, key) DO UPDATE SET {set_to} RETURNING key",
                *(queue_id, key, *columns.values()),
                *(queue_id, key, queue_id, most),
            )
        return bool(rows)

    def _reset(self, queue_id: str, key: str, alone: str, update: str) -> bool:
        """Deletes the row that has nothing else, as `alone` says; or else carries out the update."""
        with self._database.transaction():
            # Whoever takes the other half of the row away waits, or neither statement would find it.
            self._hold_keys(queue_id)
            deleted = self._database.rows(
                f"DELETE FROM queue_keys WHERE queue_id = %s AND key = %s AND {alone} RETURNING key",  # noqa: S608
                queue_id,
                key,
            )
            updated = f"{update} AND queue_id = %s AND key = %s RETURNING key"
            return bool(deleted or self._database.rows(updated, queue_id, key))

    def _hold_keys(self, queue_id: str) -> None:
        """Until the transaction ends nobody else changes what keys of the queue have."""
        self._database.rows("SELECT 1 FROM queues WHERE id = %s FOR NO KEY UPDATE", queue_id)

    # --- for the fair queue

    def rated(self) -> list[str]:
        """The organizations with queues, or keys of them, that have a rate."""
        rows = self._database.rows(
            "SELECT DISTINCT e.organization_id AS id FROM queues q"  # noqa: S608
            f" JOIN environments e ON e.id = q.environment_id WHERE {_IS_RATED} OR {_HAS_RATED_KEYS} ORDER BY 1"
        )
        return [row["id"] for row in rows]

    def key_limits(self, organization_id: str) -> list[dict[str, Any]]:
        """The rows of an organization's keys with something of their own."""
        return self._database.rows(
            f"SELECT q.environment_id, q.name, k.key, {_KEY_LIMIT} AS concurrency_limit, k.rate"  # noqa: S608
            f" FROM {_KEYS} WHERE e.organization_id = %s ORDER BY q.environment_id, q.name, k.key",
            organization_id,
        )

    def limits(self, organization_id: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """An organization's row, its environments' and those of queues that differ from others, or have keys that do."""
        organization = self._database.rows(
            "SELECT concurrency_limit, weight FROM organizations WHERE id = %s", organization_id
        )
        environments = self._database.rows(
            "SELECT id, concurrency_limit, burst, weight, paused FROM environments WHERE organization_id = %s",
            organization_id,
        )
        queues = self._database.rows(
            f"SELECT q.environment_id, q.name, {_LIMIT} AS concurrency_limit, q.weight, q.paused,"  # noqa: S608
            f" {_RATES} FROM queues q JOIN environments e ON e.id = q.environment_id WHERE e.organization_id = %s"
            " AND (q.concurrency_limit IS NOT NULL OR q.overridden_at IS NOT NULL OR q.paused OR q.weight <> 1"
            f" OR {_IS_RATED} OR EXISTS (SELECT 1 FROM queue_keys k WHERE k.queue_id = q.id))",
            organization_id,
        )
        return organization[0], environments, queues

    def _one(self, sql: str, *parameters: Any) -> Queue | None:
        rows = self._database.rows(sql, *parameters)
        return build(Queue, rows[0]) if rows else None
