"""Ends of runs whose hooks are to be called: the outbox that every end is written to, and the runs made out of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Moved, build


class Endings:
    """Filled by a trigger of the store (see the migration that makes it)."""

    def __init__(self, database: Database):
        self._database = database

    def oldest(self, limit: int) -> list[str]:
        """The runs whose ends have waited for the longest."""
        rows = self._database.rows("SELECT run_id FROM run_ends ORDER BY ended_at LIMIT %s", limit)
        return [row["run_id"] for row in rows]

    def make_runs(
        self,
        names: Mapping[str, str],
        queue: str,
        max_attempts: int,
        max_duration: int,
        longest_wait: timedelta,
        now: datetime,
    ) -> list[Moved]:
        """Makes the runs that call hooks (see `make_hook_runs.sql`). `names`: their ids by the runs that ended."""
        document = {
            "runs": [{"of": run, "id": name} for run, name in names.items()],
            "at": now,
            "queue": queue,
            "max_attempts": max_attempts,
            "max_duration": max_duration,
            "ttl_seconds": int(longest_wait.total_seconds()),
        }
        return [build(Moved, row) for row in self._database.call("make_hook_runs", document)]
