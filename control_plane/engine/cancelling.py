"""Cancelling: at once where no process exists, else by asking the executor, whose lease bounds how long it may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sojourn.control_plane.domain.failure import internal_error
from sojourn.control_plane.domain.lifecycle import Event, move
from sojourn.control_plane.engine.errors import RunNotFound
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.records import Environment, Moved, Run
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.sdk.protocol import ErrorCode, RunStatus, SnapshotStatus

#: A cancel that meets a moving run looks again this often before it gives the caller the run as it is.
_TRIES = 10
_CHILDREN_AT_ONCE = 100
#: What is below a run is cancelled while its caller waits, up to so many; the rest, perhaps very much, by the canceller.
_BELOW_AT_ONCE = 200
#: How long ago a cancellation may have been cut off for the sweep to find it.
_LOOK_BACK = timedelta(days=1)
_OVER = (SnapshotStatus.FINISHED, SnapshotStatus.PENDING_CANCEL)


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
        if run.status == RunStatus.CANCELED and self._cancel_below(run.id, now, _BELOW_AT_ONCE) >= _BELOW_AT_ONCE:
            self._index.ring("canceller")
        return run

    def cancel_first(self, environment: Environment, run_id: str, reason: str, now: datetime) -> Run:
        """The same, but what is below, which may be very much, is left to the canceller."""
        run = self._cancel(self._find(environment, run_id), reason, now)
        if run.status == RunStatus.CANCELED:
            self._index.ring("canceller")
        return run

    def cancel_all(self, environment: Environment, run_ids: Sequence[str], reason: str, now: datetime) -> list[Run]:
        """Many, in one statement but for those that move meanwhile: the runs that there are, after it.

        What is below is left to the canceller.
        """
        runs = self._runs.find_all(environment.id, run_ids)
        wishes = {run.id: self._wish(run, reason, now) for run in runs if run.snapshot_status not in _OVER}
        moved = {each.id: each for each in self._runs.move_all(wishes.values())}
        self._index.settled(list(moved.values()), now)
        after = []
        for run in runs:
            if run.id in moved:
                after.append(_after(run, moved[run.id], wishes[run.id]))
            else:
                after.append(self._cancel(run, reason, now))
        if any(run.status == RunStatus.CANCELED for run in after):
            self._index.ring("canceller")
        return after

    def find_all(self, environment: Environment, run_ids: Sequence[str]) -> list[Run]:
        """Those of the runs that the environment has, without payloads and outputs."""
        return self._runs.find_all(environment.id, run_ids)

    def sweep(self, now: datetime, limit: int, since: datetime | None = None) -> int:
        """Goes on where a cancellation was cut off: runs that live though what triggered them was cancelled; how many.

        `since`: no older cancellation is looked at; a day's, if absent.
        """
        cancelled = 0
        for parent in self._runs.cancelled_parents(since or now - _LOOK_BACK, limit):
            cancelled += self._cancel_below(parent, now, limit - cancelled)
            if cancelled >= limit:
                break
        return cancelled

    def _cancel(self, run: Run, reason: str, now: datetime) -> Run:
        for _ in range(_TRIES):
            if run.snapshot_status in _OVER:
                return run
            wish = self._wish(run, reason, now)
            moved = self._runs.move(wish)
            if moved:
                self._index.settled([moved], now)
                return _after(run, moved, wish)
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

    def _cancel_below(self, run_id: str, now: datetime, limit: int) -> int:
        """What lives below a run, and a few more than `limit` at most; how many.

        Where it breaks off, what is left has a parent that was cancelled, so that the sweep finds it.
        """
        parents, seen = [run_id], {run_id}
        while parents and len(seen) <= limit:
            parent = parents[-1]
            children = [each for each in self._runs.children(parent, _CHILDREN_AT_ONCE) if each.id not in seen]
            if not children:
                parents.pop()
            for child in children:
                self._cancel(child, "Its parent was cancelled", now)
                seen.add(child.id)
                parents.append(child.id)
        return len(seen) - 1


def _after(run: Run, moved: Moved, wish: Move) -> Run:
    """A run as it stands after its cancellation."""
    return replace(
        run,
        status=moved.status,
        snapshot=moved.snapshot,
        snapshot_status=moved.snapshot_status,
        error=wish.changes["error"],
    )
