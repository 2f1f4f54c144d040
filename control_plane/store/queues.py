"""Queues: declared by deployed code or named by runs; paused, and given other limits than the declared ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Queue, build

#: The limit that holds: a part of the environment's is never less than 1, so that it holds nobody back for good.
_LIMIT = (
    "CASE WHEN q.override_percent IS NULL THEN coalesce(q.override_limit, q.concurrency_limit)"
    " ELSE greatest(1, floor(e.concurrency_limit * q.override_percent / 100))::int END"
)
#: The rates that hold: as given while the code is deployed, or else as it declares them.
_RATES = "coalesce(q.rate, q.declared_rate) AS rate, coalesce(q.key_rate, q.declared_key_rate) AS key_rate"
_IS_RATED = "coalesce(q.rate, q.declared_rate, q.key_rate, q.declared_key_rate) IS NOT NULL"
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

    def rated(self) -> list[str]:
        """The organizations with queues that have a rate."""
        rows = self._database.rows(
            "SELECT DISTINCT e.organization_id AS id FROM queues q"  # noqa: S608
            f" JOIN environments e ON e.id = q.environment_id WHERE {_IS_RATED} ORDER BY 1"
        )
        return [row["id"] for row in rows]

    def limits(self, organization_id: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """An organization's row, its environments' and those of queues that differ from others: for the fair queue."""
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
            f" OR {_IS_RATED})",
            organization_id,
        )
        return organization[0], environments, queues

    def _one(self, sql: str, *parameters: Any) -> Queue | None:
        rows = self._database.rows(sql, *parameters)
        return build(Queue, rows[0]) if rows else None
