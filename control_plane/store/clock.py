"""PostgreSQL's time without a query each time: its clock at one moment plus what has passed since, monotonically.

Deadlines and leases are compared across hosts; a host whose wall clock is wrong, or jumps, then harms nothing.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from sojourn.control_plane.store.database import Database, StoreUnavailable


class DatabaseClock:
    """`clock()` gives the database's now, aware, in UTC. It is asked again every `refresh` seconds."""

    def __init__(self, database: Database, refresh: float = 30):
        self._database = database
        self._refresh = refresh
        self._base: datetime | None = None
        self._at = 0.0

    def __call__(self) -> datetime:
        elapsed = time.monotonic() - self._at
        if self._base is None or elapsed > self._refresh:
            self._ask()
            elapsed = time.monotonic() - self._at
        assert self._base is not None
        return self._base + timedelta(seconds=elapsed)

    def _ask(self) -> None:
        try:
            if self._base is None:
                self._database.rows("SELECT 1")  # connecting takes longer than asking: it would count as half an error
            before = time.monotonic()
            now = self._database.rows("SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now")[0]["now"]
        except StoreUnavailable:
            if self._base is None:
                raise
            return  # the old base plus monotonic time is still good
        after = time.monotonic()
        self._base, self._at = now.replace(tzinfo=UTC), (before + after) / 2
