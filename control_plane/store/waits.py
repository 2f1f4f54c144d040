"""Waitpoints and the waits of runs for them: made, tied, completed, read. The one place where they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sojourn.control_plane.store import request_keys
from sojourn.control_plane.store.database import Database, Row
from sojourn.control_plane.store.records import Run, Wait, Waitpoint, build
from sojourn.sdk.protocol import MAX_OUTPUT_BYTES


@dataclass(frozen=True, slots=True)
class Completion:
    """What completes a waitpoint: named by its id, or by the run that it stands for. `output` is JSON text."""

    at: datetime
    by: str
    waitpoint: str | None = None
    run: str | None = None
    output: str | None = None
    output_type: str | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Concerned:
    """A run that waits for a waitpoint which was completed just now."""

    run: str
    organization: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that stands blocked or frozen, and has what it needs."""

    run: str
    snapshot: int
    snapshot_status: str
    organization: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a run's wait is over, and the bytes of what it came to."""

    key: str
    is_done: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class TokenFilters:
    """Which tokens: of any of the statuses (WAITING, COMPLETED, TIMED_OUT), with any of the tags, with that key."""

    statuses: Sequence[str] = ()
    tags: Sequence[str] = ()
    idempotency_key: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenPage:
    """Some tokens; `next` and `previous` are the ids to go on from, None at the ends."""

    tokens: Sequence[Waitpoint] = field(default_factory=tuple)
    next: str | None = None
    previous: str | None = None


#: What a token's status means for its row. A token that ran out of time is complete, with an error.
_STATUSES = {
    "WAITING": "status = 'PENDING'",
    "COMPLETED": "(status = 'COMPLETED' AND NOT is_error)",
    "TIMED_OUT": "(status = 'COMPLETED' AND is_error)",
}


class Waits:
    """Every statement compares before it sets, so that each may be sent again."""

    def __init__(self, database: Database):
        self._database = database

    # --- written

    def make(self, environment_id: str, waits: Sequence[Mapping[str, Any]], at: datetime) -> None:
        """Makes the waitpoints of waits (see `make_waitpoints.sql`), and marks the runs that are waited for."""
        keys = [wait["idempotency_key"] for wait in waits if wait.get("idempotency_key")]
        if keys:
            self._release_keys(environment_id, "date", keys, at)
        self._database.call("make_waitpoints", {"environment": environment_id, "at": at, "waits": list(waits)})

    def tie(self, run: Run, waits: Sequence[Mapping[str, Any]], at: datetime) -> None:
        """Ties a run's waits to their waitpoints (see `tie_waits.sql`)."""
        document = {
            "run": run.id,
            "environment": run.environment_id,
            "attempt": run.attempt,
            "at": at,
            "waits": list(waits),
        }
        self._database.call("tie_waits", document)

    def take_call(self, run_id: str, number: int) -> bool:
        """Whether no later call about the run's waits was there before this one; the same again is."""
        rows = self._database.rows(
            "UPDATE runs SET wait_call = %s WHERE id = %s AND (wait_call IS NULL OR wait_call <= %s) RETURNING id",
            number,
            run_id,
            number,
        )
        return bool(rows)

    def need_nothing(self, run_id: str, snapshot: int, need: str | None, keys: Sequence[str]) -> None:
        """A blocked run needs nothing any more, unless it needs something else by now than it did."""
        self._database.rows(
            "UPDATE runs SET wait_need = 'all', wait_keys = '{}' WHERE id = %s AND snapshot = %s"
            " AND snapshot_status = 'EXECUTING_WITH_WAITPOINTS' AND wait_need = %s AND wait_keys = %s",
            run_id,
            snapshot,
            need,
            list(keys),
        )

    def need(self, run_id: str, snapshot: int, need: str, keys: Sequence[str]) -> None:
        """A blocked run needs something else from now on; one that has moved on is left alone."""
        self._database.rows(
            "UPDATE runs SET wait_need = %s, wait_keys = %s"
            " WHERE id = %s AND snapshot = %s AND snapshot_status = 'EXECUTING_WITH_WAITPOINTS'",
            need,
            list(keys),
            run_id,
            snapshot,
        )

    def complete(self, completions: Sequence[Completion]) -> list[Concerned]:
        """Completes waitpoints; the runs that are concerned by those which were pending."""
        documents = [
            {
                "waitpoint": each.waitpoint,
                "run": each.run,
                "output": each.output,
                "output_type": each.output_type,
                "is_error": each.is_error,
                "by": each.by,
                "at": each.at,
            }
            for each in completions
        ]
        done = self._database.call("complete_waitpoints", documents) if documents else []
        return self._concerned([row["waitpoint"] for row in done]) if done else []

    def _concerned(self, waitpoints: Sequence[str]) -> list[Concerned]:
        rows = self._database.rows(
            "SELECT DISTINCT r.id, r.organization_id FROM run_waits w JOIN runs r ON r.id = w.run_id"
            " WHERE w.waitpoint_id = ANY(%s) AND r.snapshot_status <> 'FINISHED'",
            list(waitpoints),
        )
        return [Concerned(row["id"], row["organization_id"]) for row in rows]

    def remove_old(self, environment_id: str, before: datetime, now: datetime, limit: int) -> int:
        """Deletes dates and tokens older than a date that no run waits for; how many.

        A token is kept until its own time is over, if it has one, and whatever a key leads to while the key holds. A key
        that was to hold for good holds as long as runs are kept.
        """
        rows = self._database.rows(
            "WITH gone AS (DELETE FROM waitpoints WHERE id = ANY(ARRAY(SELECT p.id FROM waitpoints p"
            " WHERE p.environment_id = %s AND p.kind <> 'run' AND p.created_at < %s"
            " AND CASE WHEN p.status = 'COMPLETED' THEN p.completed_at < %s"
            "   ELSE p.kind = 'date' OR p.due_at IS NULL END"
            " AND (p.idempotency_key IS NULL OR p.idempotency_expires_at <= %s"
            "   OR p.idempotency_expires_at IS NULL AND p.status = 'COMPLETED')"
            " AND NOT EXISTS (SELECT 1 FROM run_waits w WHERE w.waitpoint_id = p.id)"
            " ORDER BY p.created_at LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING id) SELECT count(*) AS n FROM gone",
            environment_id,
            before,
            before,
            now,
            limit,
        )
        return int(rows[0]["n"])

    def make_token(self, token: Waitpoint, request_key: str | None = None) -> bool:
        """Stores a new token; False where it is there already, or another one holds its key, or that of the request."""
        if token.idempotency_key is not None:
            self._release_keys(token.environment_id, "token", [token.idempotency_key], token.created_at)
        rows = self._database.rows(
            "INSERT INTO waitpoints (id, organization_id, environment_id, kind, due_at, idempotency_key,"
            " idempotency_expires_at, request_key, tags, created_at)"
            " VALUES (%s, %s, %s, 'token', %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING RETURNING id",
            token.id,
            token.organization_id,
            token.environment_id,
            token.due_at,
            token.idempotency_key,
            token.idempotency_expires_at,
            request_key,
            list(token.tags),
            token.created_at,
        )
        return bool(rows)

    def _release_keys(self, environment_id: str, kind: str, keys: Sequence[str], at: datetime) -> None:
        """A key whose time is over leads to what it led to no longer."""
        self._database.rows(
            "UPDATE waitpoints SET idempotency_key = NULL WHERE environment_id = %s AND kind = %s"
            " AND idempotency_key = ANY(%s) AND idempotency_expires_at <= %s",
            environment_id,
            kind,
            list(keys),
            at,
        )

    # --- tokens, read

    def token(self, environment_id: str, token_id: str) -> Waitpoint | None:
        """A token of that environment; another environment's is not there."""
        return self._token("id = %s AND environment_id = %s", token_id, environment_id)

    def any_token(self, token_id: str) -> Waitpoint | None:
        """A token whatever its environment: what is done with it needs proof of another kind."""
        return self._token("id = %s", token_id)

    def token_by_key(self, environment_id: str, key: str) -> Waitpoint | None:
        """The token that holds a key."""
        return self._token("environment_id = %s AND idempotency_key = %s", environment_id, key)

    def forget_request(self, environment_id: str, request_key: str, before: datetime) -> None:
        """Frees the key of a request that came before then."""
        request_keys.forget(self._database, "waitpoints", environment_id, request_key, before)

    def token_by_request(self, environment_id: str, request_key: str) -> Waitpoint | None:
        """The token that a request made."""
        return self._token("environment_id = %s AND request_key = %s", environment_id, request_key)

    def tokens(
        self,
        environment_id: str,
        filters: TokenFilters,
        *,
        after: str | None = None,
        before: str | None = None,
        size: int = 25,
    ) -> TokenPage:
        """A page of tokens, newest first: those after (older than) or before (newer than) a token's id."""
        where, parameters = _conditions(filters)
        for condition, value in (("id < %s", after), ("id > %s", before)):
            if value:
                where, parameters = [*where, condition], [*parameters, value]
        order = "ASC" if before else "DESC"
        rows = self._database.rows(
            f"SELECT * FROM waitpoints WHERE {' AND '.join(['environment_id = %s', *where])}"  # noqa: S608
            f" ORDER BY id {order} LIMIT {int(size) + 1}",
            environment_id,
            *parameters,
        )
        more, tokens = len(rows) > size, [build(Waitpoint, row) for row in rows[:size]]
        if before:
            tokens.reverse()
            return TokenPage(tokens, tokens[-1].id if tokens else None, tokens[0].id if more else None)
        return TokenPage(tokens, tokens[-1].id if more else None, tokens[0].id if tokens and after else None)

    def _token(self, condition: str, *parameters: Any) -> Waitpoint | None:
        rows = self._database.rows(
            f"SELECT * FROM waitpoints WHERE kind = 'token' AND {condition}",  # noqa: S608
            *parameters,
        )
        return build(Waitpoint, rows[0]) if rows else None

    # --- read

    def standing(self, run_id: str, keys: Sequence[str]) -> list[Standing]:
        """Which of a run's waits by those keys are over, without their results."""
        rows = self._database.rows(
            "SELECT w.key, p.status = 'COMPLETED' AS is_done,"
            # What lies in the object store may be as large as an output can be.
            " coalesce(octet_length(p.output), 0) + CASE WHEN r.output_type = 'application/store' THEN %s"
            " ELSE coalesce(octet_length(r.output), 0) END AS bytes"
            " FROM run_waits w JOIN waitpoints p ON p.id = w.waitpoint_id LEFT JOIN runs r ON r.id = p.run_id"
            " WHERE w.run_id = %s AND w.key = ANY(%s)",
            MAX_OUTPUT_BYTES,
            run_id,
            list(keys),
        )
        return [build(Standing, row) for row in rows]

    def of_run(self, run_id: str, keys: Sequence[str]) -> list[Wait]:
        """A run's waits by those keys."""
        rows = self._database.rows(
            "SELECT w.key, w.attempt, p.* FROM run_waits w JOIN waitpoints p ON p.id = w.waitpoint_id"
            " WHERE w.run_id = %s AND w.key = ANY(%s) ORDER BY w.key",
            run_id,
            list(keys),
        )
        return [build(Wait, row) for row in rows]

    def begun(self, run_id: str, limit: int, keys: Sequence[str] | None = None) -> list[Wait]:
        """A run's newest waits, of all or of those by these keys, oldest first; `created_at` is when each began."""
        rows = self._database.rows(
            "SELECT w.key, w.attempt, p.*, w.created_at AS created_at FROM run_waits w"
            " JOIN waitpoints p ON p.id = w.waitpoint_id WHERE w.run_id = %s AND (%s OR w.key = ANY(%s))"
            " ORDER BY w.created_at DESC, length(w.key) DESC, w.key DESC LIMIT %s",
            run_id,
            keys is None,
            list(keys or ()),
            limit,
        )
        return [build(Wait, row) for row in reversed(rows)]

    def to_go_on(self, run_ids: Sequence[str] | None, limit: int) -> list[Ready]:
        """Runs that stand blocked or frozen though they have what they need: of those, or of all."""
        rows = self._database.call("runs_to_go_on", {"runs": None if run_ids is None else list(run_ids), "limit": limit})
        return [build(Ready, row) for row in rows]

    def due(self, now: datetime, limit: int) -> list[Row]:
        """Pending waitpoints whose date has come, the longest due first: {id, kind, due_at}."""
        return self._database.rows(
            "SELECT id, kind, due_at FROM waitpoints WHERE status = 'PENDING' AND due_at <= %s ORDER BY due_at LIMIT %s",
            now,
            limit,
        )

    def next_due(self) -> datetime | None:
        """When the next pending waitpoint is due."""
        rows = self._database.rows(
            "SELECT due_at FROM waitpoints WHERE status = 'PENDING' AND due_at IS NOT NULL ORDER BY due_at LIMIT 1"
        )
        return rows[0]["due_at"] if rows else None

    def over_runs(self, run_ids: Sequence[str] | None, limit: int) -> list[str]:
        """Runs that are over though whoever waits for them was not told: of those, or of all."""
        rows = self._database.rows(
            "SELECT p.run_id FROM waitpoints p JOIN runs r ON r.id = p.run_id"
            " WHERE p.status = 'PENDING' AND p.kind = 'run' AND r.snapshot_status = 'FINISHED'"
            " AND (%s OR p.run_id = ANY(%s)) LIMIT %s",
            run_ids is None,
            list(run_ids or ()),
            limit,
        )
        return [str(row["run_id"]) for row in rows]

    def awaited(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """Those runs, by their ids."""
        rows = self._database.rows("SELECT * FROM runs WHERE id = ANY(%s)", list(run_ids)) if run_ids else []
        return {row["id"]: build(Run, row) for row in rows}


def _conditions(filters: TokenFilters) -> tuple[list[str], list[Any]]:
    where, parameters = ["kind = 'token'"], []
    if filters.statuses:
        where.append(f"({' OR '.join(_STATUSES[status] for status in filters.statuses)})")
    for condition, value in (
        ("tags && %s", list(filters.tags) or None),
        ("idempotency_key = %s", filters.idempotency_key),
        ("created_at >= %s", filters.created_from),
        ("created_at <= %s", filters.created_to),
    ):
        if value is not None:
            where.append(condition)
            parameters.append(value)
    return where, parameters
