"""Batches and their items: made, filled, closed, read. The one place where they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sojourn.control_plane.store import request_keys
from sojourn.control_plane.store.database import Database, Row
from sojourn.control_plane.store.records import Batch, Run, build

#: Items among which results are read at once, and bytes of these behind which no further one is.
_RESULTS, _RESULT_BYTES = 1_000, 4 * 1024 * 1024
#: A batch may be completed when none of its items' runs can change any more. The index holds the live ones alone.
_IS_OVER = (
    "b.status IN ('PROCESSING', 'PARTIAL_FAILED')"
    " AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.batch_id = b.id AND r.snapshot_status <> 'FINISHED')"
    " AND NOT EXISTS (SELECT 1 FROM batch_items i JOIN runs r ON r.id = i.run_id"
    " WHERE i.batch_id = b.id AND i.cached AND r.snapshot_status <> 'FINISHED')"
)
_RESULT_COLUMNS = "r.id, r.environment_id, r.task, r.status, r.output, r.output_type, r.error, r.usage_ms"


@dataclass(frozen=True, slots=True)
class BatchItem:
    """The run that an item became. `cached`: it was there before; `failed`: the item could not be triggered."""

    position: int
    run_id: str
    cached: bool
    failed: bool


@dataclass(frozen=True, slots=True)
class NamedItem:
    """The run that an item became, with its task and its key."""

    run_id: str
    cached: bool
    task: str
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Flawed:
    """An item that could not be triggered, and the error of its run."""

    position: int
    task: str
    error: dict[str, str]


class Batches:
    """Items are added while the batch's row is locked, so that no two requests store the same one."""

    def __init__(self, database: Database):
        self._database = database

    # --- written

    def make(self, batch: Batch, request_key: str | None) -> bool:
        """Stores a new batch; False when its id, its idempotency key or the request's key is taken."""
        options = batch.idempotency_options
        rows = self._database.rows(
            "INSERT INTO batches (id, organization_id, environment_id, status, run_count, parent_run_id, idempotency_key,"
            " idempotency_expires_at, idempotency_options, request_key, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id",
            batch.id,
            batch.organization_id,
            batch.environment_id,
            batch.status,
            batch.run_count,
            batch.parent_run_id,
            batch.idempotency_key,
            batch.idempotency_expires_at,
            None if options is None else json.dumps(options),
            request_key,
            batch.created_at,
            batch.updated_at,
        )
        return bool(rows)

    @contextmanager
    def filling(self, batch_id: str) -> Iterator[Batch | None]:
        """A transaction in which nobody else fills or closes the batch; None for one that is not there any more."""
        with self._database.transaction():
            rows = self._database.rows("SELECT * FROM batches WHERE id = %s FOR UPDATE", batch_id)
            yield build(Batch, rows[0]) if rows else None

    def add(self, batch_id: str, items: Sequence[BatchItem], at: datetime) -> Batch:
        """Adds items, none of which is there, and seals the batch with the last of them. Within `filling`."""
        rows = self._database.rows(
            "WITH added AS (INSERT INTO batch_items (batch_id, position, run_id, cached, failed)"
            " SELECT %s, * FROM unnest(%s::int[], %s::text[], %s::boolean[], %s::boolean[]) RETURNING failed),"
            " grown AS (SELECT b.id, b.items + n.items AS items, b.failed + n.failed AS failed,"
            " b.items + n.items = b.run_count AS whole, b.failed + n.failed = b.run_count AS void, %s::timestamptz AS at"
            " FROM batches b, (SELECT count(*)::int AS items, (count(*) FILTER (WHERE failed))::int AS failed FROM added) n"
            " WHERE b.id = %s)"
            " UPDATE batches b SET items = g.items, failed = g.failed, updated_at = g.at,"
            " sealed_at = CASE WHEN g.whole THEN g.at END, completed_at = CASE WHEN g.void THEN g.at END,"
            " idempotency_key = CASE WHEN NOT g.void THEN b.idempotency_key END,"
            " status = CASE WHEN NOT g.whole THEN 'PENDING' WHEN g.void THEN 'ABORTED'"
            " WHEN g.failed > 0 THEN 'PARTIAL_FAILED' ELSE 'PROCESSING' END"
            " FROM grown g WHERE b.id = g.id RETURNING b.*",
            batch_id,
            [item.position for item in items],
            [item.run_id for item in items],
            [item.cached for item in items],
            [item.failed for item in items],
            at,
            batch_id,
        )
        return build(Batch, rows[0])

    def release_key(self, environment_id: str, key: str, now: datetime) -> bool:
        """Frees an idempotency key whose time is over; whether one was freed."""
        rows = self._database.rows(
            "UPDATE batches SET idempotency_key = NULL WHERE environment_id = %s AND idempotency_key = %s"
            " AND idempotency_expires_at <= %s RETURNING id",
            environment_id,
            key,
            now,
        )
        return bool(rows)

    def abort(self, silent_since: datetime, now: datetime, limit: int) -> int:
        """Gives up batches to which nothing was added since then although items are missing; how many."""
        rows = self._database.rows(
            "UPDATE batches SET status = 'ABORTED', completed_at = %s, updated_at = %s, idempotency_key = NULL"
            " WHERE id = ANY(ARRAY(SELECT id FROM batches WHERE status = 'PENDING' AND updated_at < %s"
            " ORDER BY updated_at LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING id",
            now,
            now,
            silent_since,
            limit,
        )
        return len(rows)

    def complete(self, now: datetime, limit: int) -> int:
        """Completes batches whose runs are over; how many."""
        return len(self._complete(f"b.id = ANY(ARRAY(SELECT b.id FROM batches b WHERE {_IS_OVER} LIMIT %s))", now, limit))  # noqa: S608

    def complete_one(self, batch_id: str, now: datetime) -> Batch | None:
        """Completes a batch if its runs are over; None if they are not, or somebody was faster."""
        rows = self._complete(f"b.id = %s AND {_IS_OVER}", now, batch_id)
        return build(Batch, rows[0]) if rows else None

    def _complete(self, condition: str, now: datetime, *parameters: object) -> list[Row]:
        return self._database.rows(
            "UPDATE batches b SET status = 'COMPLETED', completed_at = %s, updated_at = %s"  # noqa: S608
            f" WHERE b.status IN ('PROCESSING', 'PARTIAL_FAILED') AND {condition} RETURNING b.*",
            now,
            now,
            *parameters,
        )

    def remove_old(self, environment_id: str, before: datetime, limit: int) -> int:
        """Deletes batches that were over before a date, the oldest first, until that many items are gone; how many are."""
        rows = self._database.rows(
            "WITH old AS (SELECT id, sum(items + 1) OVER (ORDER BY completed_at, id) - items AS upto FROM batches"
            " WHERE environment_id = %s AND completed_at < %s"
            " AND (idempotency_key IS NULL OR idempotency_expires_at < clock_timestamp())"
            " ORDER BY completed_at, id LIMIT %s)"
            " DELETE FROM batches b USING old WHERE b.id = old.id AND old.upto <= %s RETURNING b.items + 1 AS n",
            environment_id,
            before,
            limit,
            limit,
        )
        return sum(row["n"] for row in rows)

    def forget_request(self, environment_id: str, request_key: str, before: datetime) -> None:
        """Frees the key of a request that came before then."""
        request_keys.forget(self._database, "batches", environment_id, request_key, before)

    # --- read

    def find(self, environment_id: str, batch_id: str) -> Batch | None:
        """A batch of that environment; another environment's is not there."""
        return self._one("environment_id = %s AND id = %s", environment_id, batch_id)

    def by_request(self, environment_id: str, request_key: str) -> Batch | None:
        """The batch that an HTTP request has made before."""
        return self._one("environment_id = %s AND request_key = %s", environment_id, request_key)

    def by_idempotency_key(self, environment_id: str, key: str) -> Batch | None:
        """The batch that holds a key."""
        return self._one("environment_id = %s AND idempotency_key = %s", environment_id, key)

    def there(self, batch_id: str, positions: Sequence[int]) -> set[int]:
        """Those items that are stored."""
        rows = self._database.rows(
            "SELECT position FROM batch_items WHERE batch_id = %s AND position = ANY(%s)", batch_id, list(positions)
        )
        return {row["position"] for row in rows}

    def items(self, batch_id: str, after: int, limit: int) -> list[BatchItem]:
        """So many of the items that are stored, in their order, from the one after that position on."""
        rows = self._database.rows(
            "SELECT position, run_id, cached, failed FROM batch_items WHERE batch_id = %s AND position > %s"
            " ORDER BY position LIMIT %s",
            batch_id,
            after,
            limit,
        )
        return [build(BatchItem, row) for row in rows]

    def named_items(self, batch_id: str) -> list[NamedItem]:
        """The same, each with the task and the idempotency key of its run."""
        rows = self._database.rows(
            "SELECT i.run_id, i.cached, r.task, r.idempotency_key FROM batch_items i JOIN runs r ON r.id = i.run_id"
            " WHERE i.batch_id = %s ORDER BY i.position",
            batch_id,
        )
        return [build(NamedItem, row) for row in rows]

    def missing(self, organization_id: str) -> int:
        """How many items are still to come to an organization's batches."""
        rows = self._database.rows(
            "SELECT coalesce(sum(run_count - items), 0) AS n FROM batches"
            " WHERE status = 'PENDING' AND organization_id = %s",
            organization_id,
        )
        return int(rows[0]["n"])

    def live(self, batch_id: str) -> int:
        """How many items have a run that is not over."""
        rows = self._database.rows(
            "SELECT (SELECT count(*) FROM runs WHERE batch_id = %s AND snapshot_status <> 'FINISHED')"
            " + (SELECT count(*) FROM batch_items i JOIN runs r ON r.id = i.run_id"
            " WHERE i.batch_id = %s AND i.cached AND r.snapshot_status <> 'FINISHED') AS n",
            batch_id,
            batch_id,
        )
        return int(rows[0]["n"])

    def flawed(self, batch_id: str, limit: int) -> list[Flawed]:
        """The first items that could not be triggered."""
        rows = self._database.rows(
            "SELECT i.position, r.task, r.error FROM batch_items i JOIN runs r ON r.id = i.run_id"
            " WHERE i.batch_id = %s AND i.failed ORDER BY i.position LIMIT %s",
            batch_id,
            limit,
        )
        return [build(Flawed, row) for row in rows]

    def results(self, batch_id: str, after: int, count: int) -> Iterator[tuple[int, Run]]:
        """The runs that are over with their positions, in order, from the item after that one on; no payloads.

        `count`: items that the batch is to have. Positions are bounded at both ends, since the planner thinks that few
        are behind any, and would sort all of them each time.
        """
        while after < count - 1:
            upto = after + _RESULTS
            rows = self._database.rows(
                "SELECT * FROM (SELECT f.*, sum(f.size) OVER (ORDER BY f.position) - f.size AS before FROM ("  # noqa: S608
                f"SELECT i.position, {_RESULT_COLUMNS}, coalesce(octet_length(r.output), 0) AS size"
                " FROM batch_items i JOIN runs r ON r.id = i.run_id"
                " WHERE i.batch_id = %s AND i.position > %s AND i.position <= %s AND r.snapshot_status = 'FINISHED'"
                ") f) g WHERE before < %s ORDER BY position",
                batch_id,
                after,
                upto,
                _RESULT_BYTES,
            )
            for row in rows:
                yield row["position"], build(Run, row)
            is_cut = bool(rows) and rows[-1]["before"] + rows[-1]["size"] >= _RESULT_BYTES
            after = rows[-1]["position"] if is_cut else upto

    def _one(self, condition: str, *parameters: object) -> Batch | None:
        rows = self._database.rows(f"SELECT * FROM batches WHERE {condition}", *parameters)  # noqa: S608
        return build(Batch, rows[0]) if rows else None
