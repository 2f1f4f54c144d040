"""Bulk actions: made, moved on a page of runs at a time, ended, read. The one place where they are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import build


@dataclass(frozen=True, slots=True)
class BulkAction:
    """What is done to many runs. `type`: CANCEL or REPLAY; `status`: PENDING, COMPLETED or ABORTED.

    `filter` (a document of `RunFilters`) or `run_ids` says which runs, all with ids below `upto`. It has come down to
    `reached` and is at work on `page`. `total` is None until they are counted.
    """

    id: str
    organization_id: str
    environment_id: str
    type: str
    status: str
    name: str | None
    region: str | None
    filter: dict[str, Any] | None
    run_ids: list[str] | None
    upto: str
    reached: str | None
    page: list[str] | None
    total: int | None
    succeeded: int
    failed: int
    created_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of a page of runs. `runs`: those that were cancelled, or made; `left`: those that are still to come."""

    runs: Sequence[str]
    failed: int
    left: Sequence[str] = ()


class BulkActions:
    """Progress is written by compare-and-set, so that two servers at work on one action count no page twice."""

    def __init__(self, database: Database):
        self._database = database

    # --- written

    def make(self, action: BulkAction, request_key: str | None) -> bool:
        """Stores a new action; False when its id or the request's key is taken."""
        rows = self._database.rows(
            "INSERT INTO bulk_actions (id, organization_id, environment_id, type, status, name, region, filter, run_ids,"
            " upto, total, request_key, created_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::text[], %s, %s, %s, %s) ON CONFLICT DO NOTHING"
            " RETURNING id",
            action.id,
            action.organization_id,
            action.environment_id,
            action.type,
            action.status,
            action.name,
            action.region,
            None if action.filter is None else json.dumps(action.filter),
            action.run_ids,
            action.upto,
            action.total,
            request_key,
            action.created_at,
        )
        return bool(rows)

    def counted(self, action_id: str, total: int) -> None:
        """How many runs there are to act on, said once."""
        self._database.rows("UPDATE bulk_actions SET total = %s WHERE id = %s AND total IS NULL", total, action_id)

    def begin(self, action: BulkAction, page: Sequence[str]) -> bool:
        """Writes down which runs are next, if the action stands where they were looked for."""
        return bool(
            self._database.rows(
                "UPDATE bulk_actions SET page = %s::text[] WHERE id = %s AND reached IS NOT DISTINCT FROM %s"
                " AND page IS NULL AND status = 'PENDING' RETURNING id",
                list(page),
                action.id,
                action.reached,
            )
        )

    def advance(self, action: BulkAction, page: Sequence[str], progress: Progress) -> bool:
        """Counts a page, or what was done of it, if the action stands where that was begun; False if somebody has done so.

        An action that was aborted meanwhile counts it, too: its runs have been acted on.
        """
        with self._database.transaction():
            rows = self._database.rows(
                "UPDATE bulk_actions SET reached = %s, page = %s::text[], succeeded = succeeded + %s, failed = failed + %s"
                " WHERE id = %s AND reached IS NOT DISTINCT FROM %s AND page = %s::text[] RETURNING id",
                # The lowest id of the whole page, also when the last of what was left of it are done.
                min(page[-1], action.reached or page[-1]),
                list(progress.left) or None,
                len(progress.runs),
                progress.failed,
                action.id,
                action.reached,
                list(page),
            )
            if rows and progress.runs:
                self._database.rows(
                    "INSERT INTO bulk_action_runs (bulk_action_id, run_id) SELECT %s, unnest(%s::text[])"
                    " ON CONFLICT DO NOTHING",
                    action.id,
                    list(progress.runs),
                )
        return bool(rows)

    def complete(self, action: BulkAction, now: datetime) -> bool:
        """Ends an action that has no runs left. It had as many as it has acted on, whatever was counted before."""
        return bool(
            self._database.rows(
                "UPDATE bulk_actions SET status = 'COMPLETED', completed_at = %s, total = succeeded + failed"
                " WHERE id = %s AND status = 'PENDING' AND page IS NULL AND reached IS NOT DISTINCT FROM %s RETURNING id",
                now,
                action.id,
                action.reached,
            )
        )

    def abort(self, action_id: str, now: datetime) -> bool:
        """Ends an action that is under way; False for one that is over."""
        return bool(
            self._database.rows(
                "UPDATE bulk_actions SET status = 'ABORTED', completed_at = %s WHERE id = %s AND status = 'PENDING'"
                " RETURNING id",
                now,
                action_id,
            )
        )

    def remove_old(self, environment_id: str, before: datetime, limit: int) -> int:
        """Deletes actions that were over before a date; how many."""
        rows = self._database.rows(
            "DELETE FROM bulk_actions WHERE id = ANY(ARRAY(SELECT id FROM bulk_actions WHERE environment_id = %s"
            " AND completed_at < %s ORDER BY completed_at LIMIT %s)) RETURNING id",
            environment_id,
            before,
            limit,
        )
        return len(rows)

    # --- read

    def find(self, environment_id: str, action_id: str) -> BulkAction | None:
        """An action of that environment; another environment's is not there."""
        return self._one("environment_id = %s AND id = %s", environment_id, action_id)

    def by_request(self, environment_id: str, request_key: str) -> BulkAction | None:
        """The action that an HTTP request has made before."""
        return self._one("environment_id = %s AND request_key = %s", environment_id, request_key)

    def page(
        self, environment_id: str, *, after: str | None, before: str | None, size: int
    ) -> tuple[list[BulkAction], bool]:
        """Actions older than `after` or newer than `before`, newest first, and whether there are more that way."""
        rows = self._database.rows(
            "SELECT * FROM bulk_actions WHERE environment_id = %s AND (%s IS NULL OR id < %s) AND (%s IS NULL OR id > %s)"  # noqa: S608
            f" ORDER BY id {'DESC' if before is None else 'ASC'} LIMIT %s",
            environment_id,
            after,
            after,
            before,
            before,
            size + 1,
        )
        found = [build(BulkAction, row) for row in rows[:size]]
        return found[::-1] if before else found, len(rows) > size

    def pending(self, after: str, limit: int) -> list[BulkAction]:
        """Actions that are under way, by their ids, from the one after that on."""
        rows = self._database.rows(
            "SELECT * FROM bulk_actions WHERE (status = 'PENDING' OR page IS NOT NULL) AND id > %s ORDER BY id LIMIT %s",
            after,
            limit,
        )
        return [build(BulkAction, row) for row in rows]

    def pending_of(self, environment_id: str) -> int:
        """How many actions of an environment are under way."""
        rows = self._database.rows(
            "SELECT count(*) AS n FROM bulk_actions WHERE environment_id = %s AND status = 'PENDING'", environment_id
        )
        return int(rows[0]["n"])

    def of_run(self, run_id: str, limit: int) -> list[str]:
        """The actions that have cancelled or made a run."""
        rows = self._database.rows(
            "SELECT bulk_action_id AS id FROM bulk_action_runs WHERE run_id = %s ORDER BY bulk_action_id LIMIT %s",
            run_id,
            limit,
        )
        return [row["id"] for row in rows]

    def _one(self, condition: str, *parameters: object) -> BulkAction | None:
        rows = self._database.rows(f"SELECT * FROM bulk_actions WHERE {condition}", *parameters)  # noqa: S608
        return build(BulkAction, rows[0]) if rows else None
