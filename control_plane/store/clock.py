"""PostgreSQL's time without a query each time: its clock at one moment plus what has passed since, monotonically.

Deadlines and leases are compared across hosts; a host whose wall clock is wrong, or jumps, then harms nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sojourn.control_plane.store.database import Database, StoreUnavailable

#: A clock that seems to go back by less was measured a little wrong; by more, it was set back.
_MISMEASURED = timedelta(seconds=1)


class DatabaseClock:
    """`clock()` gives the database's now, aware, in UTC. It is asked again every `refresh` seconds.

    What it says never goes back, unless the database's own clock was set back. `monotonic`: seconds of this host's.
    """

    def __init__(self, database: Database, refresh: float = 30, monotonic: Callable[[], float] = time.monotonic):
        self._database = database
        self._refresh = refresh
        self._monotonic = monotonic
        #: The database's clock, and this host's at that moment: replaced together, since threads share them.
        self._known: tuple[datetime, float] | None = None
        self._told = datetime.min.replace(tzinfo=UTC)
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        known = self._known
        if known is None or self._monotonic() - known[1] > self._refresh:
            known = self._ask(known)
        now = known[0] + timedelta(seconds=self._monotonic() - known[1])
        with self._lock:
            if not now < self._told < now + _MISMEASURED:
                self._told = now
            return self._told

    def _ask(self, known: tuple[datetime, float] | None) -> tuple[datetime, float]:
        try:
            if known is None:
                self._database.rows("SELECT 1")  # connecting takes longer than asking: it would count as half an error
            before = self._monotonic()
            now = self._database.rows("SELECT clock_timestamp() AT TIME ZONE 'UTC' AS now")[0]["now"]
        except StoreUnavailable:
            if known is None:
                raise
            return known  # the old base plus monotonic time is still good
        after = self._monotonic()
        self._known = now.replace(tzinfo=UTC), (before + after) / 2
        return self._known
