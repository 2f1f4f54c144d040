"""Schedules: stored, read, moved on from tick to tick."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Schedule, build

_COLUMNS = ", ".join(field.name for field in fields(Schedule))
#: What a later wish may change of a schedule.
_CHANGED = (
    "task", "cron", "timezone", "time_window", "overlap", "catch_up", "external_id", "active", "next_tick", "due_at",
    "held", "updated_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ripe:
    """A schedule that is to be looked at. `deployed`: the current version has its task."""

    schedule: Schedule
    deployed: bool


@dataclass(frozen=True, slots=True)
class Living:
    """A schedule's run that is not over."""

    id: str
    schedule_id: str
    snapshot_status: str


@dataclass(frozen=True, slots=True)
class NextLook:
    """When the next schedule is due, and whether any is held back until a run is over."""

    due: datetime | None
    held: bool


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a schedule is to stand after a look. `fired`: the newest tick that became a run, if one did."""

    id: str
    next_tick: datetime | None
    due_at: datetime | None
    held: bool
    fired: datetime | None


class Schedules:
    """Every question names the environment, but for those of the ticker, which serves all.

    `patience`: seconds after which the server ends a session that holds locks and asks nothing: a scheduler that is paused
    must not keep schedules from others.
    """

    def __init__(self, database: Database, patience: float = 10):
        self._database = database
        self._patience = patience

    # --- read

    def find(self, environment_id: str, schedule_id: str) -> Schedule | None:
        """A schedule of that environment; another environment's is not there."""
        return self._one("id = %s AND environment_id = %s", schedule_id, environment_id)

    def page(self, environment_id: str, offset: int, limit: int) -> tuple[list[Schedule], int]:
        """Some schedules, the newest first, and how many there are."""
        rows = self._database.rows(
            "SELECT * FROM schedules WHERE environment_id = %s ORDER BY id DESC LIMIT %s OFFSET %s",
            environment_id,
            limit,
            offset,
        )
        count = self._database.rows("SELECT count(*) AS n FROM schedules WHERE environment_id = %s", environment_id)
        return [build(Schedule, row) for row in rows], int(count[0]["n"])

    def next_look(self) -> NextLook:
        """When the next schedule is to be looked at."""
        rows = self._database.rows(
            "SELECT (SELECT due_at FROM schedules WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1) AS due,"
            " EXISTS (SELECT FROM schedules WHERE held) AS held"
        )
        return build(NextLook, rows[0])

    def due(self, now: datetime, limit: int) -> list[Schedule]:
        """Schedules that are to be looked at, the longest due first. Others may look at them, too."""
        rows = self._database.rows("SELECT * FROM schedules WHERE due_at <= %s ORDER BY due_at LIMIT %s", now, limit)
        return [build(Schedule, row) for row in rows]

    def living(self, schedule_ids: Sequence[str], limit: int) -> list[Living]:
        """Runs that those schedules made in time, and that are not over: so many of each. Those of back-fills are none."""
        rows = self._database.rows(
            "SELECT r.* FROM unnest(%s::text[]) s (id) CROSS JOIN LATERAL (SELECT id, schedule_id, snapshot_status"
            " FROM runs WHERE schedule_id = s.id AND snapshot_status <> 'FINISHED' AND source = 'schedule' LIMIT %s) r",
            list(schedule_ids),
            limit,
        )
        return [build(Living, row) for row in rows]

    # --- under a lock, inside a transaction

    def lock(self, environment_id: str, schedule_id: str) -> Schedule | None:
        """A schedule that nobody else changes meanwhile."""
        return self._one("id = %s AND environment_id = %s FOR UPDATE", schedule_id, environment_id)

    def lock_by_key(self, environment_id: str, key: str) -> Schedule | None:
        """The same, by the key that leads to it."""
        return self._one("deduplication_key = %s AND environment_id = %s FOR UPDATE", key, environment_id)

    def lock_declared(self, environment_id: str) -> dict[str, Schedule]:
        """Those that deployed code declares, by their tasks."""
        rows = self._database.rows(
            "SELECT * FROM schedules WHERE environment_id = %s AND type = 'DECLARATIVE' ORDER BY id FOR UPDATE",
            environment_id,
        )
        return {row["task"]: build(Schedule, row) for row in rows}

    def lock_ripe(self, schedules: Sequence[Schedule], now: datetime) -> list[Ripe]:
        """Those that are due still, and that nobody else has in hand. Their runs may be stored then."""
        self._share_environments({schedule.environment_id for schedule in schedules})
        rows = self._database.rows(
            "SELECT s.*, EXISTS (SELECT FROM environments e JOIN tasks t ON t.version_id = e.current_version_id"
            " WHERE e.id = s.environment_id AND t.slug = s.task) AS deployed"
            " FROM schedules s WHERE s.id = ANY(%s) AND s.due_at <= %s ORDER BY s.id FOR UPDATE OF s SKIP LOCKED",
            [schedule.id for schedule in schedules],
            now,
        )
        return [Ripe(build(Schedule, row), row["deployed"]) for row in rows]

    def lock_for_runs(self, environment_id: str, schedule_id: str) -> Schedule | None:
        """`lock` for whoever stores runs of the schedule: two that store the same ticks would wait for each other else."""
        self._share_environments({environment_id})
        return self.lock(environment_id, schedule_id)

    def _share_environments(self, environment_ids: set[str]) -> None:
        """Environments, which runs refer to, before schedules, as a deployment does: neither waits for the other then."""
        self._database.rows("SET LOCAL idle_in_transaction_session_timeout = %s", int(self._patience * 1000))
        self._database.rows(
            "SELECT id FROM environments WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", sorted(environment_ids)
        )

    # --- written

    def insert(self, schedules: Iterable[Schedule]) -> list[str]:
        """Stores new schedules; the ids of those whose key, or task, was free."""
        rows = self._database.rows(
            f"INSERT INTO schedules ({_COLUMNS}) SELECT {_COLUMNS}"  # noqa: S608
            " FROM jsonb_populate_recordset(NULL::schedules, %s::jsonb) ON CONFLICT DO NOTHING RETURNING id",
            _documents(schedules),
        )
        return [row["id"] for row in rows]

    def save(self, schedules: Iterable[Schedule]) -> None:
        """Stores what has changed of schedules that are locked."""
        self._database.rows(
            f"UPDATE schedules s SET {', '.join(f'{name} = n.{name}' for name in _CHANGED)}"  # noqa: S608
            " FROM jsonb_populate_recordset(NULL::schedules, %s::jsonb) n WHERE s.id = n.id",
            _documents(schedules),
        )

    def stand(self, stands: Sequence[Stand], now: datetime) -> None:
        """Moves schedules that are locked on to their next ticks."""
        self._database.rows(
            "UPDATE schedules s SET next_tick = n.next_tick, due_at = n.due_at, held = n.held,"
            " last_tick = coalesce(n.fired, s.last_tick)"
            " FROM jsonb_to_recordset(%s::jsonb) AS n (id text, next_tick timestamptz, due_at timestamptz, held boolean,"
            " fired timestamptz) WHERE s.id = n.id",
            json.dumps([asdict(stand) for stand in stands], default=str),
        )

    def let_go(self, now: datetime, limit: int) -> None:
        """Schedules that are held back though no run of theirs is left are due now."""
        self._database.rows(
            "UPDATE schedules SET due_at = %s WHERE id = ANY(ARRAY(SELECT id FROM schedules s WHERE held AND due_at > %s"
            " AND NOT EXISTS (SELECT FROM runs r WHERE r.schedule_id = s.id AND r.snapshot_status <> 'FINISHED'"
            "   AND r.source = 'schedule') LIMIT %s FOR UPDATE SKIP LOCKED))",
            now,
            now,
            limit,
        )

    def delete(self, environment_id: str, schedule_ids: Sequence[str]) -> None:
        """Schedules that are no more; their runs stay."""
        self._database.rows(
            "DELETE FROM schedules WHERE environment_id = %s AND id = ANY(%s)", environment_id, list(schedule_ids)
        )

    def _one(self, condition: str, *parameters: str) -> Schedule | None:
        rows = self._database.rows(f"SELECT * FROM schedules WHERE {condition}", *parameters)  # noqa: S608
        return build(Schedule, rows[0]) if rows else None


def _documents(schedules: Iterable[Schedule]) -> str:
    return json.dumps([asdict(schedule) for schedule in schedules], default=str)
