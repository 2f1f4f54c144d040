"""Runs: stored, moved by compare-and-set, read. Nothing else writes a run's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.domain import lifecycle
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.store import request_keys
from sojourn.control_plane.store.database import Database, Row
from sojourn.control_plane.store.records import Attempt, Moved, Run, Snapshot, build
from sojourn.sdk.protocol import RunStatus, SnapshotStatus

#: Runs that only wait in the memory of their executors; `stays`: it is not about to be frozen.
_RESTING = (
    "SELECT r.environment_id, r.snapshot_status = 'QUEUED_EXECUTING' OR r.alive_reason IS NOT NULL"
    " OR t.may_freeze IS FALSE OR r.updated_at < clock_timestamp() - %s AS stays"
    " FROM runs r LEFT JOIN tasks t ON t.version_id = r.version_id AND t.slug = r.task"
    " WHERE r.snapshot_status IN ('EXECUTING_WITH_WAITPOINTS', 'QUEUED_EXECUTING')"
)
#: A run's columns but for the two that may be megabytes each.
_LIGHT = ", ".join(each.name for each in fields(Run) if each.name not in ("payload", "output"))
_ON_CLUSTER = "EXISTS (SELECT FROM executors e WHERE e.id = r.executor_id AND e.cluster = %s)"


@dataclass(frozen=True, slots=True)
class Move:
    """One wish: let `event` happen to `run` if it still stands at `snapshot`.

    `shows` names the run status where the table allows several; `source` narrows the statuses it may happen in;
    `changes` are columns that get new values with it. `lapsed_by`: only if its lease was over by then; `due_by`:
    only if its delay was.
    """

    run: str
    snapshot: int
    event: Event
    at: datetime
    shows: RunStatus | None = None
    source: SnapshotStatus | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    usage_ms: int = 0
    error: Mapping[str, Any] | None = None
    description: str | None = None
    lapsed_by: datetime | None = None
    due_by: datetime | None = None

    def document(self) -> dict[str, Any]:
        """The move as `move_runs.sql` takes it. `IllegalMove` if the table has no such row."""
        sources = [self.source] if self.source else lifecycle.sources(self.event)
        rows = [lifecycle.move(source, self.event) for source in sources]
        target = rows[0].target
        if any(row.target is not target for row in rows):
            raise ValueError(f"{self.event} leads to several statuses: name the source")
        shows = self.shows or rows[0].shows[0]
        if shows not in rows[0].shows:
            raise ValueError(f"{self.event} does not show {shows}")
        return {
            "run": self.run,
            "snapshot": self.snapshot,
            "sources": sources,
            "at": self.at,
            "lapsed_by": self.lapsed_by,
            "due_by": self.due_by,
            "steps": [{"event": self.event, "status": target, "run_status": shows}],
            "changes": self.changes,
            "usage_ms": self.usage_ms,
            "error": self.error,
            "description": self.description,
        }


def requeue(
    run: Run, at: datetime, *, charged: bool = True, error: Mapping[str, Any] | None = None, description: str | None = None
) -> Move:
    """A run that was dequeued and did not begin waits again, a frozen one with its checkpoint.

    `charged`: the placement counts among those after which the run is given up.
    """
    changes: dict[str, Any] = {"lease_until": None}
    if not charged:
        changes["dequeues"] = max(run.dequeues - 1, 0)
    shows = RunStatus.QUEUED if run.checkpoint_id is None else RunStatus.WAITING
    return Move(run.id, run.snapshot, Event.REQUEUE, at, shows=shows, changes=changes, error=error, description=description)


class Runs:
    """The one place where runs are written."""

    def __init__(self, database: Database):
        self._database = database

    # --- written

    def insert(self, documents: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
        """Stores triggered runs (see `trigger_runs.sql`); by id, those that were stored."""
        return {row["id"]: row for row in self._database.call("trigger_runs", list(documents))}

    def move(self, move: Move) -> Moved | None:
        """Moves one run; None when the mover is late."""
        moved = self.move_all([move])
        return moved[0] if moved else None

    def move_all(self, moves: Iterable[Move]) -> list[Moved]:
        """Moves many runs in one statement; those that moved."""
        documents = [move.document() for move in moves]
        return [build(Moved, row) for row in self._database.call("move_runs", documents)] if documents else []

    def claim(self, claims: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
        """Gives QUEUED runs to executors (see `claim_runs.sql`); the verdicts by run id."""
        return {row["run"]: row for row in self._database.call("claim_runs", list(claims))}

    def start(self, wish: Mapping[str, Any]) -> Run | None:
        """Begins an attempt (see `start_run.sql`); None when the executor is late."""
        rows = self._database.call("start_run", wish)
        return build(Run, rows[0]) if rows else None

    def beat(self, beat: Mapping[str, Any]) -> Row | None:
        """Renews a lease (see `beat_run.sql`); None when there is no such run."""
        rows = self._database.call("beat_run", beat)
        return rows[0] if rows else None

    def waits_alive(self, run_id: str, snapshot: int, reason: str) -> None:
        """Why a blocked run is not frozen, for its user to read. It moves nothing."""
        self._database.rows(
            "UPDATE runs SET alive_reason = %s WHERE id = %s AND snapshot = %s"
            " AND snapshot_status = 'EXECUTING_WITH_WAITPOINTS'",
            reason[:_REASON_CHARS],
            run_id,
            snapshot,
        )

    def release_versioned(self, environment_id: str, at: datetime, limit: int) -> list[Moved]:
        """Lets runs go whose task a version now has (see `release_versioned.sql`)."""
        rows = self._database.call("release_versioned", {"environment": environment_id, "at": at, "limit": limit})
        return [build(Moved, row) for row in rows]

    def awaiting_versions(self, organization_id: str, after: str, limit: int) -> list[str]:
        """Runs that wait for a version, in the order of their ids, from `after` on."""
        rows = self._database.rows(
            "SELECT id FROM runs WHERE organization_id = %s AND snapshot_status = 'RUN_CREATED' AND id > %s"
            " ORDER BY id LIMIT %s",
            organization_id,
            after,
            limit,
        )
        return [str(row["id"]) for row in rows]

    def releasable(self, run_ids: Sequence[str]) -> set[str]:
        """The environments of those runs whose version is there, though they wait for it."""
        rows = self._database.rows(
            "SELECT DISTINCT r.environment_id FROM runs r JOIN environments e ON e.id = r.environment_id"
            " JOIN tasks t ON t.slug = r.task AND t.version_id = coalesce(r.locked_version_id, CASE"
            " WHEN r.external_deployment_id IS NULL THEN e.current_version_id ELSE (SELECT x.id FROM versions x"
            " WHERE x.environment_id = e.id AND x.external_id = r.external_deployment_id ORDER BY x.id DESC LIMIT 1) END)"
            " WHERE r.id = ANY(%s) AND r.snapshot_status = 'RUN_CREATED'",
            list(run_ids),
        )
        return {str(row["environment_id"]) for row in rows}

    def forget_idempotency_key(self, environment_id: str, task: str, key: str, now: datetime) -> bool:
        """Frees a key whose time is over; whether one was freed."""
        return bool(
            self._database.rows(
                "UPDATE runs SET idempotency_key = NULL WHERE environment_id = %s AND task = %s"
                " AND key_digest(idempotency_key) = key_digest(%s) AND idempotency_expires_at <= %s RETURNING id",
                environment_id,
                task,
                key,
                now,
            )
        )

    def forget_idempotency_keys(self, environment_id: str, names: Sequence[tuple[str, str]], now: datetime) -> int:
        """Frees those keys, each named with its task, whose time is over; how many."""
        rows = self._database.rows(
            "UPDATE runs r SET idempotency_key = NULL FROM unnest(%s::text[], %s::text[]) AS k (task, key)"
            " WHERE r.environment_id = %s AND r.task = k.task AND key_digest(r.idempotency_key) = key_digest(k.key)"
            " AND r.idempotency_expires_at <= %s RETURNING r.id",
            [task for task, _ in names],
            [key for _, key in names],
            environment_id,
            now,
        )
        return len(rows)

    def reset_idempotency_key(self, environment_id: str, task: str, key: str) -> bool:
        """Frees a key whatever its time; whether a run held it."""
        return bool(
            self._database.rows(
                "UPDATE runs SET idempotency_key = NULL, idempotency_expires_at = NULL"
                " WHERE environment_id = %s AND task = %s AND key_digest(idempotency_key) = key_digest(%s)"
                " RETURNING id",
                environment_id,
                task,
                key,
            )
        )

    def forget_request(self, environment_id: str, request_key: str, before: datetime) -> None:
        """Frees the key of a request that came before then."""
        request_keys.forget(self._database, "runs", environment_id, request_key, before)

    # --- read: one run in full; of several, unless it is said, neither payloads nor outputs, which may be megabytes each

    def find(self, environment_id: str, run_id: str) -> Run | None:
        """A run of that environment; another environment's is not there."""
        rows = self._database.rows("SELECT * FROM runs WHERE id = %s AND environment_id = %s", run_id, environment_id)
        return build(Run, rows[0]) if rows else None

    def find_all(self, environment_id: str, run_ids: Sequence[str]) -> list[Run]:
        """Those runs that this environment has."""
        rows = self._database.rows(
            f"SELECT {_LIGHT} FROM runs WHERE environment_id = %s AND id = ANY(%s) ORDER BY id",  # noqa: S608
            environment_id,
            list(run_ids),
        )
        return [build(Run, row) for row in rows]

    def any(self, run_id: str) -> Run | None:
        """A run whatever its environment: for the platform's own use, never for an answer to a user."""
        rows = self._database.rows("SELECT * FROM runs WHERE id = %s", run_id)
        return build(Run, rows[0]) if rows else None

    def by_request(self, environment_id: str, request_key: str) -> str | None:
        """The run that an HTTP request has made before."""
        rows = self._database.rows(
            "SELECT id FROM runs WHERE environment_id = %s AND request_key = %s", environment_id, request_key
        )
        return rows[0]["id"] if rows else None

    def by_idempotency_key(self, environment_id: str, task: str, key: str) -> Run | None:
        """The run that holds a key."""
        rows = self._database.rows(
            "SELECT * FROM runs WHERE environment_id = %s AND task = %s AND key_digest(idempotency_key) = key_digest(%s)",
            environment_id,
            task,
            key,
        )
        return build(Run, rows[0]) if rows else None

    def holders(self, environment_id: str, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The runs that hold keys, by task and key."""
        rows = self._database.rows(
            "SELECT r.id, r.task, r.idempotency_key FROM unnest(%s::text[], %s::text[]) AS k (task, key)"
            " JOIN runs r ON r.environment_id = %s AND r.task = k.task"
            " AND key_digest(r.idempotency_key) = key_digest(k.key)",
            [task for task, _ in names],
            [key for _, key in names],
            environment_id,
        )
        return {(row["task"], row["idempotency_key"]): row["id"] for row in rows}

    def children(self, run_id: str, limit: int) -> list[Run]:
        """Children of a run that are not over, oldest first."""
        rows = self._database.rows(
            f"SELECT {_LIGHT} FROM runs WHERE parent_run_id = %s AND snapshot_status NOT IN ('FINISHED', 'PENDING_CANCEL')"  # noqa: S608
            " ORDER BY id LIMIT %s",
            run_id,
            limit,
        )
        return [build(Run, row) for row in rows]

    def cancelled_parents(self, since: datetime, limit: int) -> list[str]:
        """Runs that were cancelled since then and have children that are not over."""
        rows = self._database.rows(
            "SELECT p.id FROM runs p WHERE p.status = 'CANCELED' AND p.updated_at > %s AND EXISTS (SELECT 1 FROM runs c"
            " WHERE c.parent_run_id = p.id AND c.snapshot_status NOT IN ('FINISHED', 'PENDING_CANCEL'))"
            " ORDER BY p.updated_at DESC LIMIT %s",
            since,
            limit,
        )
        return [str(row["id"]) for row in rows]

    def related(self, run: Run, children: int = 100) -> list[Run]:
        """A run's root and parent, if it has them, what its hooks join it to, and its newest children; newest first."""
        rows = self._database.rows(
            f"(SELECT {_LIGHT} FROM runs WHERE environment_id = %s AND (id = ANY(%s) OR hook_of = %s))"  # noqa: S608
            f" UNION ALL (SELECT {_LIGHT} FROM runs WHERE environment_id = %s AND parent_run_id = %s"
            " AND hook_of IS DISTINCT FROM %s ORDER BY id DESC LIMIT %s) ORDER BY id DESC",
            run.environment_id,
            [other for other in (run.root_run_id, run.parent_run_id, run.hook_of) if other],
            run.id,
            run.environment_id,
            run.id,
            run.id,
            children,
        )
        return [build(Run, row) for row in rows]

    def hook_run(self, run: Run) -> Run | None:
        """The run that calls the hooks of this one's end."""
        rows = self._database.rows(
            "SELECT * FROM runs WHERE hook_of = %s AND environment_id = %s", run.id, run.environment_id
        )
        return build(Run, rows[0]) if rows else None

    def held_by(self, executor_id: str) -> list[Run]:
        """The runs that an executor has and that are not over, in full: it may be given them again."""
        rows = self._database.rows(
            "SELECT * FROM runs WHERE executor_id = %s AND snapshot_status IN"
            " ('PENDING_EXECUTING', 'EXECUTING', 'EXECUTING_WITH_WAITPOINTS', 'QUEUED_EXECUTING', 'PENDING_CANCEL')",
            executor_id,
        )
        return [build(Run, row) for row in rows]

    def history(self, run_id: str, after: int = 0) -> list[Snapshot]:
        """A run's snapshots after that one, oldest first."""
        rows = self._database.rows("SELECT * FROM snapshots WHERE run_id = %s AND seq > %s ORDER BY seq", run_id, after)
        return [build(Snapshot, row) for row in rows]

    def attempts(self, run_id: str) -> list[Attempt]:
        """A run's attempts, read out of its history."""
        return attempts_of(self.history(run_id))

    def due(self, now: datetime, limit: int) -> list[Run]:
        """DELAYED runs whose time has come, the longest due first."""
        return self._where("snapshot_status = 'DELAYED' AND available_at <= %s ORDER BY available_at", now, limit)

    def next_due(self) -> datetime | None:
        """When the next DELAYED run is due."""
        rows = self._database.rows("SELECT min(available_at) AS at FROM runs WHERE snapshot_status = 'DELAYED'")
        return rows[0]["at"]

    def expiring(self, now: datetime, limit: int) -> list[Run]:
        """Runs that were never dequeued and whose time to live is over; and hooks that wait in the queue again."""
        fresh = self._where(
            "snapshot_status IN ('QUEUED', 'RUN_CREATED') AND started_at IS NULL AND ttl_expires_at <= %s"
            " ORDER BY ttl_expires_at",
            now,
            limit,
        )
        hooks = self._where(
            "snapshot_status = 'QUEUED' AND hook_of IS NOT NULL AND started_at IS NOT NULL AND ttl_expires_at <= %s"
            " ORDER BY ttl_expires_at",
            now,
            limit,
        )
        return fresh + hooks

    def lapsed(self, now: datetime, limit: int) -> list[Run]:
        """Runs whose executor has not beaten in time."""
        return self._where(
            "snapshot_status IN ('EXECUTING', 'EXECUTING_WITH_WAITPOINTS', 'PENDING_CANCEL', 'PENDING_EXECUTING',"
            " 'QUEUED_EXECUTING') AND lease_until <= %s ORDER BY lease_until",
            now,
            limit,
        )

    def live(self, organization_id: str, statuses: Sequence[str], after: str, limit: int) -> list[Run]:
        """An organization's runs in those snapshot statuses, in the order of their ids, from `after` on."""
        rows = self._database.rows(
            f"SELECT {_LIGHT} FROM runs WHERE organization_id = %s AND snapshot_status = ANY(%s)"  # noqa: S608
            " AND snapshot_status <> 'FINISHED' AND id > %s ORDER BY id LIMIT %s",
            organization_id,
            list(statuses),
            after,
            limit,
        )
        return [build(Run, row) for row in rows]

    def newest_queued(self, organization_id: str, before: datetime, limit: int) -> list[Run]:
        """The newest QUEUED runs: where a crash between the store and the queue shows first."""
        rows = self._database.rows(
            f"SELECT {_LIGHT} FROM runs WHERE organization_id = %s AND snapshot_status = 'QUEUED' AND created_at <= %s"  # noqa: S608
            " ORDER BY id DESC LIMIT %s",
            organization_id,
            before,
            limit,
        )
        return [build(Run, row) for row in rows]

    def standing(self, run_ids: Sequence[str]) -> dict[str, str]:
        """The snapshot statuses of those runs that exist."""
        rows = self._database.rows("SELECT id, snapshot_status FROM runs WHERE id = ANY(%s)", list(run_ids))
        return {row["id"]: row["snapshot_status"] for row in rows}

    def snapshots(self, run_ids: Sequence[str]) -> dict[str, int]:
        """The snapshots that those runs stand at."""
        rows = self._database.rows("SELECT id, snapshot FROM runs WHERE id = ANY(%s)", list(run_ids))
        return {row["id"]: row["snapshot"] for row in rows}

    def resting(self, patience: timedelta, limit: int, cluster: str | None = None) -> Resting:
        """How many runs wait in the memory of their executors, or of one cluster's, each kind counted up to a limit.

        One that has waited for longer than `patience` stays, as those do that cannot be frozen.
        """
        rows = self._database.rows(
            "WITH blocked AS (" + _RESTING + (" AND " + _ON_CLUSTER if cluster is not None else "") + ")"  # noqa: S608
            " SELECT (SELECT count(*) FROM (SELECT 1 FROM blocked WHERE stays LIMIT %s) AS s) AS staying,"
            " (SELECT count(*) FROM (SELECT 1 FROM blocked WHERE NOT stays LIMIT %s) AS l) AS leaving",
            patience,
            *([] if cluster is None else [cluster]),
            limit,
            limit,
        )
        return build(Resting, rows[0])

    def resting_by_environment(self, patience: timedelta) -> dict[str, Resting]:
        """The same for each environment that has such runs."""
        rows = self._database.rows(
            "WITH blocked AS (" + _RESTING + ") SELECT environment_id, count(*) FILTER (WHERE stays) AS staying,"  # noqa: S608
            " count(*) FILTER (WHERE NOT stays) AS leaving FROM blocked GROUP BY environment_id",
            patience,
        )
        return {row["environment_id"]: Resting(row["staying"], row["leaving"]) for row in rows}

    def still_queued(self, run_ids: Sequence[str]) -> set[str]:
        """Those that wait in the queue, once every move that is under way is over."""
        rows = self._database.rows(
            "SELECT id FROM runs WHERE id = ANY(%s) AND snapshot_status IN ('QUEUED', 'QUEUED_EXECUTING')"
            " ORDER BY id FOR SHARE",
            list(run_ids),
        )
        return {row["id"] for row in rows}

    def remove_finished(self, environment_id: str, before: datetime, limit: int) -> int:
        """Deletes runs that ended before a date, with their history, log lines and waits; how many.

        Their large payloads and outputs are to be removed from the object store then.

        One that was waited for is kept for its result until those runs are over, too, and one whose hooks are to be called.
        """
        rows = self._database.rows(
            "WITH gone AS (DELETE FROM runs WHERE id = ANY(ARRAY(SELECT id FROM runs WHERE environment_id = %s"
            " AND snapshot_status = 'FINISHED' AND finished_at < %s AND NOT EXISTS (SELECT 1 FROM waitpoints p"
            " JOIN run_waits w ON w.waitpoint_id = p.id JOIN runs r ON r.id = w.run_id"
            " WHERE p.run_id = runs.id AND p.kind = 'run' AND r.snapshot_status <> 'FINISHED')"
            " AND NOT EXISTS (SELECT 1 FROM run_ends e WHERE e.run_id = runs.id)"
            " AND NOT EXISTS (SELECT 1 FROM runs h WHERE h.hook_of = runs.id AND h.snapshot_status <> 'FINISHED')"
            " ORDER BY id LIMIT %s)) RETURNING id, payload, payload_type, output, output_type),"
            " history AS (DELETE FROM snapshots s USING gone WHERE s.run_id = gone.id),"
            " lines AS (DELETE FROM run_logs l USING gone WHERE l.run_id = gone.id),"
            " waits AS (DELETE FROM run_waits w USING gone WHERE w.run_id = gone.id),"
            " waitpoints AS (DELETE FROM waitpoints p USING gone WHERE p.run_id = gone.id),"
            " debounced AS (DELETE FROM debounces d USING gone WHERE d.run_id = gone.id),"
            " packets AS (INSERT INTO gone_packets SELECT payload FROM gone WHERE payload_type = 'application/store'"
            " UNION SELECT output FROM gone WHERE output_type = 'application/store' ON CONFLICT DO NOTHING),"
            " told AS (DELETE FROM webhook_deliveries d USING gone WHERE d.run_id = gone.id),"
            " frozen AS (DELETE FROM checkpoints c USING gone WHERE c.run_id = gone.id AND c.removed_at IS NOT NULL)"
            " SELECT count(*) AS n FROM gone",
            environment_id,
            before,
            limit,
        )
        return int(rows[0]["n"])

    def _where(self, condition: str, now: datetime, limit: int) -> list[Run]:
        rows = self._database.rows(f"SELECT {_LIGHT} FROM runs WHERE {condition} LIMIT %s", now, limit)  # noqa: S608
        return [build(Run, row) for row in rows]


#: A reason is one line on a page.
_REASON_CHARS = 500
_STARTS, _ENDS = Event.START, frozenset({Event.SUCCEED, Event.FAIL, Event.RETRY_NOW, Event.RETRY_LATER})
_ENDS_ALL = _ENDS | {Event.HAND_BACK, Event.CANCEL_ACKNOWLEDGED}


def attempts_of(history: Sequence[Snapshot]) -> list[Attempt]:
    """The attempts that a history tells of: each from its START to the event that ended it."""
    found: list[Attempt] = []
    for row in history:
        if row.event == _STARTS:
            found.append(Attempt(row.attempt, row.created_at, None, None, None, row.executor_id, row.warm))
        elif row.event in _ENDS_ALL and found and found[-1].ended_at is None:
            last = found[-1]
            found[-1] = Attempt(
                last.number, last.started_at, row.created_at, row.event, row.error, last.executor_id, last.warm
            )
    return found
