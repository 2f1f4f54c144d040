"""Runs whose moment has come: due ones are queued, those whose time to live is over are finished."""

from __future__ import annotations

from datetime import datetime, timedelta

from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.store.runs import Move, Runs


class Expiring:
    """Each call is one bounded pass and says how many runs it moved."""

    def __init__(self, runs: Runs, index: Index):
        self._runs = runs
        self._index = index

    def queue_due(self, now: datetime, limit: int) -> int:
        """DELAYED runs whose delay, or whose wait before a retry, is over."""
        moved = self._runs.move_all(self._due(run, now) for run in self._runs.due(now, limit))
        self._index.enqueue(moved, now)
        for run in moved:
            self._index.announce(run)
        return len(moved)

    def expire(self, now: datetime, limit: int) -> int:
        """Runs that were not dequeued within their time to live."""
        moved = self._runs.move_all(
            Move(
                run.id,
                run.snapshot,
                Event.EXPIRE,
                now,
                changes={"finished_at": now, "idempotency_key": None},
                description=f"not dequeued within {run.ttl_seconds} s",
            )
            for run in self._runs.expiring(now, limit)
        )
        self._index.settled(moved, now)
        return len(moved)

    def next_due(self) -> datetime | None:
        """When the next DELAYED run is due."""
        return self._runs.next_due()

    @staticmethod
    def _due(run: Run, now: datetime) -> Move:
        # The time to live begins with the first real entry into the queue.
        expires = now + timedelta(seconds=run.ttl_seconds) if run.ttl_seconds and run.attempt == 0 else None
        return Move(run.id, run.snapshot, Event.DUE, now, changes={"available_at": None, "ttl_expires_at": expires})
