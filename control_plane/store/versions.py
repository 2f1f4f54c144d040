"""Deployed versions, their tasks and the queues they declare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Task, Version, build

_CACHE_SIZE = 5_000


class Versions:
    """Versions and tasks never change once stored, so that they are kept in memory after the first look."""

    def __init__(self, database: Database):
        self._database = database
        self._versions: dict[str, Version] = {}
        self._tasks: dict[tuple[str, str], Task] = {}

    def find(self, version_id: str) -> Version | None:
        """The version of that id."""
        if version_id not in self._versions:
            rows = self._database.rows("SELECT * FROM versions WHERE id = %s", version_id)
            if not rows:
                return None
            _make_room(self._versions)
            self._versions[version_id] = build(Version, rows[0])
        return self._versions[version_id]

    def task(self, version_id: str, slug: str) -> Task | None:
        """A task of a version."""
        key = (version_id, slug)
        if key not in self._tasks:
            rows = self._database.rows("SELECT * FROM tasks WHERE version_id = %s AND slug = %s", version_id, slug)
            if not rows:
                return None
            _make_room(self._tasks)
            self._tasks[key] = build(Task, rows[0])
        return self._tasks[key]

    def current(self, environment_id: str) -> Version | None:
        """The version that new runs of an environment start on."""
        rows = self._database.rows(
            "SELECT v.* FROM versions v JOIN environments e ON e.current_version_id = v.id WHERE e.id = %s",
            environment_id,
        )
        return build(Version, rows[0]) if rows else None

    def named(self, environment_id: str, name: str) -> Version | None:
        """The version of an environment with that number or that id."""
        if not name.isprintable():
            return None
        rows = self._database.rows(
            "SELECT * FROM versions WHERE environment_id = %s AND (number = %s OR id = %s)", environment_id, name, name
        )
        return build(Version, rows[0]) if rows else None

    def page(
        self,
        environment_id: str,
        *,
        after: str | None = None,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        size: int = 20,
    ) -> tuple[list[Version], bool]:
        """An environment's versions older than `after`, newest first, and whether there are more."""
        rows = self._database.rows(
            "SELECT * FROM versions WHERE environment_id = %s AND (%s IS NULL OR id < %s)"
            " AND (%s IS NULL OR created_at >= %s) AND (%s IS NULL OR created_at <= %s) ORDER BY id DESC LIMIT %s",
            environment_id,
            after,
            after,
            created_from,
            created_from,
            created_to,
            created_to,
            size + 1,
        )
        return [build(Version, row) for row in rows[:size]], len(rows) > size

    def tasks(self, version_id: str) -> list[Task]:
        """A version's tasks by their ids."""
        rows = self._database.rows("SELECT * FROM tasks WHERE version_id = %s ORDER BY slug", version_id)
        return [build(Task, row) for row in rows]

    def lock_environment(self, environment_id: str) -> None:
        """Inside a transaction: deployments of one environment take turns."""
        self._database.rows("SELECT id FROM environments WHERE id = %s FOR UPDATE", environment_id)

    def next_number(self, environment_id: str, now: datetime) -> str:
        """`YYYYMMDD.N`, N counting from 1 each day. Under `lock_environment`."""
        day = now.strftime("%Y%m%d")
        rows = self._database.rows(
            "SELECT coalesce(max(split_part(number, '.', 2)::int), 0) + 1 AS n FROM versions"
            " WHERE environment_id = %s AND number LIKE %s",
            environment_id,
            day + ".%",
        )
        return f"{day}.{rows[0]['n']}"

    def insert(self, version: Version, tasks: Sequence[Mapping[str, Any]]) -> None:
        """A version with its tasks; each of `tasks` has the columns of `Task` but for the version's id."""
        self._database.rows(
            "INSERT INTO versions (id, environment_id, number, content_hash, sdk_version, python_version, image,"
            " external_id, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            version.id,
            version.environment_id,
            version.number,
            version.content_hash,
            version.sdk_version,
            version.python_version,
            version.image,
            version.external_id,
            version.created_at,
        )
        self._database.rows(
            "INSERT INTO tasks SELECT * FROM jsonb_populate_recordset(NULL::tasks, %s::jsonb)",
            json.dumps([{**task, "version_id": version.id} for task in tasks]),
        )

    def make_current(self, environment_id: str, version_id: str) -> None:
        """New runs of the environment start on this version from now on."""
        self._database.rows("UPDATE environments SET current_version_id = %s WHERE id = %s", version_id, environment_id)

    def declare_queues(self, environment_id: str, queues: Sequence[Mapping[str, Any]]) -> None:
        """Queues as deployed code has them: `{id, name, concurrency_limit, declared_rate, declared_key_rate}`.

        A known one takes what is new.
        """
        self._database.rows(
            "INSERT INTO queues (id, environment_id, name, concurrency_limit, declared_rate, declared_key_rate)"
            " SELECT q.id, %s, q.name, q.concurrency_limit,"
            " nullif(q.declared_rate, 'null'), nullif(q.declared_key_rate, 'null')"
            " FROM jsonb_to_recordset(%s::jsonb) AS q (id text, name text, concurrency_limit int,"
            " declared_rate jsonb, declared_key_rate jsonb) ORDER BY q.name"
            " ON CONFLICT (environment_id, name) DO UPDATE SET concurrency_limit = excluded.concurrency_limit,"
            " declared_rate = excluded.declared_rate, declared_key_rate = excluded.declared_key_rate",
            environment_id,
            json.dumps(list(queues)),
        )

    def organizations(self) -> list[str]:
        """Every organization's id."""
        return [row["id"] for row in self._database.rows("SELECT id FROM organizations ORDER BY id")]


def _make_room(cache: dict[Any, Any]) -> None:
    if len(cache) >= _CACHE_SIZE:
        cache.clear()
