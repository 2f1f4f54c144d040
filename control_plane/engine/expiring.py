"""Runs whose moment has come: due ones are queued, those whose time to live is over are finished."""

from __future__ import annotations

from datetime import datetime, timedelta

from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.sdk.protocol import RunStatus


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
        """Runs that were not dequeued within their time to live; of those that have begun hooks alone have one."""
        moved = self._runs.move_all(
            Move(
                run.id,
                run.snapshot,
                Event.EXPIRE,
                now,
                changes={"finished_at": now, "idempotency_key": None},
                description=_expired(run),
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
        changes = {"available_at": None, "ttl_expires_at": expires}
        # A trigger with its debounce key may put it off in this moment, which is no move.
        return Move(run.id, run.snapshot, Event.DUE, now, changes=changes, due_by=now)


def _expired(run: Run) -> str:
    if run.external_deployment_id is not None and run.status == RunStatus.PENDING_VERSION:
        return f"nothing was deployed as {run.external_deployment_id[:80]} in time"
    return f"not dequeued within {run.ttl_seconds} s"
