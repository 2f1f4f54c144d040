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
from sojourn.sdk.protocol import ErrorCode, SnapshotStatus

#: A cancel that meets a moving run looks again this often before it gives the caller the run as it is.
_TRIES = 10
_CHILDREN_AT_ONCE = 100


class Cancelling:
    """`grace`: how long an executor may take for the user's hook before the run is finished without it."""

    def __init__(self, runs: Runs, index: Index, grace: timedelta):
        self._runs = runs
        self._index = index
        self._grace = grace

    def cancel(self, environment: Environment, run_id: str, reason: str, now: datetime) -> Run:
        """The run after the cancellation; one that is over, or being cancelled, is left as it is."""
        run = self._find(environment, run_id)
        for _ in range(_TRIES):
            if run.snapshot_status in (SnapshotStatus.FINISHED, SnapshotStatus.PENDING_CANCEL):
                return run
            moved = self._runs.move(self._wish(run, reason, now))
            if moved:
                self._index.settled([moved], now)
                self._cancel_children(environment, run_id, now)
                return replace(run, status=moved.status, snapshot=moved.snapshot, snapshot_status=moved.snapshot_status)
            run = self._find(environment, run_id)
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

    def _cancel_children(self, environment: Environment, run_id: str, now: datetime) -> None:
        while children := self._runs.children(run_id, _CHILDREN_AT_ONCE):
            for child in children:
                self.cancel(environment, child.id, "Its parent was cancelled", now)
            if len(children) < _CHILDREN_AT_ONCE:
                return
