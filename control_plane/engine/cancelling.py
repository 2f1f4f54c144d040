"""Cancelling: at once where no process exists, else by asking the executor, whose lease bounds how long it may take."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sojourn.control_plane.domain.failure import internal_error
from sojourn.control_plane.domain.lifecycle import Event, move
from sojourn.control_plane.engine.errors import RunNotFound
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.sdk.protocol import ErrorCode, RunStatus, SnapshotStatus

#: A cancel that meets a moving run looks again this often before it gives the caller the run as it is.
_TRIES = 10
_CHILDREN_AT_ONCE = 100
#: How long ago a cancellation may have been cut off for the sweep to find it.
_LOOK_BACK = timedelta(days=1)


class Cancelling:
    """`grace`: how long an executor may take for the user's hook before the run is finished without it."""

    def __init__(self, runs: Runs, index: Index, grace: timedelta):
        self._runs = runs
        self._index = index
        self._grace = grace

    def cancel(self, environment: Environment, run_id: str, reason: str, now: datetime) -> Run:
        """The run after the cancellation; one that is over, or being cancelled, is left as it is.

        What it has triggered is cancelled too, also by a call that repeats one that was cut off on the way.
        """
        run = self._cancel(self._find(environment, run_id), reason, now)
        if run.status == RunStatus.CANCELED:
            self._cancel_below(run.id, now)
        return run

    def cancel_first(self, environment: Environment, run_id: str, reason: str, now: datetime) -> Run:
        """The same, but what is below, which may be very much, is left to the canceller."""
        run = self._cancel(self._find(environment, run_id), reason, now)
        if run.status == RunStatus.CANCELED:
            self._index.ring("canceller")
        return run

    def sweep(self, now: datetime, limit: int) -> int:
        """Goes on where a cancellation was cut off: runs that live though what triggered them was cancelled; how many."""
        return sum(self._cancel_below(parent, now) for parent in self._runs.cancelled_parents(now - _LOOK_BACK, limit))

    def _cancel(self, run: Run, reason: str, now: datetime) -> Run:
        for _ in range(_TRIES):
            if run.snapshot_status in (SnapshotStatus.FINISHED, SnapshotStatus.PENDING_CANCEL):
                return run
            moved = self._runs.move(self._wish(run, reason, now))
            if moved:
                self._index.settled([moved], now)
                return replace(run, status=moved.status, snapshot=moved.snapshot, snapshot_status=moved.snapshot_status)
            run = self._runs.any(run.id) or run
        return run

    def _find(self, environment: Environment, run_id: str) -> Run:
        run = self._runs.find(environment.id, run_id)
        if run is None:
            raise RunNotFound
        return run

    def _wish(self, run: Run, reason: str, now: datetime) -> Move:
        source = SnapshotStatus(run.snapshot_status)
        error = internal_error(ErrorCode.TASK_RUN_CANCELLED, reason)
        changes: dict[str, object] = {"error": error}
        if move(source, Event.CANCEL).target is SnapshotStatus.FINISHED:
            changes |= {"finished_at": now, "lease_until": None}
        else:
            changes |= {"lease_until": now + self._grace}
        return Move(run.id, run.snapshot, Event.CANCEL, now, source=source, changes=changes, description=reason)

    def _cancel_below(self, run_id: str, now: datetime) -> int:
        """Everything below a run that lives; how many."""
        parents, seen = [run_id], {run_id}
        while parents:
            parent = parents[-1]
            children = [each for each in self._runs.children(parent, _CHILDREN_AT_ONCE) if each.id not in seen]
            if not children:
                parents.pop()
            for child in children:
                self._cancel(child, "Its parent was cancelled", now)
                seen.add(child.id)
                parents.append(child.id)
        return len(seen) - 1
