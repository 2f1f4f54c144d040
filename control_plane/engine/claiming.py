"""From the queue's hand to an executor's: what was dequeued is claimed in the store, or goes back where it belongs.

A claim comes before the queue's lease is over, or not at all: the store refuses a later one, since the sweep may have
given the run's slots to another by then.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from sojourn.control_plane import faults
from sojourn.control_plane.domain.due_runs import Taken
from sojourn.control_plane.domain.lanes import is_resident
from sojourn.control_plane.domain.lifecycle import SLOT_HOLDING, Event
from sojourn.control_plane.engine.credentials import ExecutorIdentity
from sojourn.control_plane.engine.indexing import WAITING, Index
from sojourn.control_plane.store.records import Run, build
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.control_plane.store.versions import Versions
from sojourn.sdk.protocol import SnapshotStatus

log = logging.getLogger(__name__)

_CURRENT_FOR = timedelta(seconds=1)


class NotNow(Exception):
    """Nothing is to be claimed in this call: its date is too old, or the executor has a run already."""


class Claiming:
    """`lease`: an executor's time between heartbeats; `placement`: the time a placed executor has to show up."""

    def __init__(self, runs: Runs, versions: Versions, index: Index, *, lease: timedelta, placement: timedelta):
        self._runs = runs
        self._versions = versions
        self._index = index
        self._lease = lease
        self._placement = placement
        self._current: dict[str, tuple[str | None, datetime]] = {}

    def claim_and_start(
        self, taken: Taken, executor: ExecutorIdentity, now: datetime, node_type: str | None = None
    ) -> Run | None:
        """A warm start: the run with its attempt begun, or None when it was not to be had. `NotNow`: nor is another.

        A frozen run is dequeued only, for a node of its type: it goes on when it is thawed.
        """
        run = self._claim(
            taken,
            {
                "executor": executor.executor,
                "version": executor.version,
                "node_type": node_type,
                "start": True,
                "lease_until": now + self._lease,
            },
            now,
        )
        if run is None:
            self._current.pop(executor.environment, None)
        return run

    def claim_for_placement(self, taken: Taken, executor: str, now: datetime) -> Run | None:
        """A cold start: the run, promised to an executor that is about to be placed; None and `NotNow` as above."""
        return self._claim(
            taken,
            {"executor": executor, "start": False, "lease_until": now + self._placement},
            now,
        )

    def readmit(self, taken: Taken, now: datetime) -> None:
        """A run of a resident lane goes on in the executor that has its process."""
        self._claim(taken, {"executor": None, "start": False, "lease_until": now}, now)

    def is_current(self, executor: ExecutorIdentity, now: datetime) -> bool:
        """Whether unpinned runs would start on the executor's version.

        That it is may be a second old: the claim checks again. That it is not is never remembered: an executor of a version
        just deployed would wait for a whole poll where no such run comes.
        """
        known = self._current.get(executor.environment)
        if known is None or known[1] <= now or known[0] != executor.version:
            current = self._versions.current(executor.environment)
            known = (current.id if current else None, now + _CURRENT_FOR)
            self._current[executor.environment] = known
        return known[0] == executor.version

    def _claim(self, taken: Taken, wish: dict[str, object], now: datetime) -> Run | None:
        faults.point("claim.after_dequeue")
        # Where this fails the claim may be stored all the same: the run stays in flight, and its lease decides.
        claim = {**wish, "run": taken.run, "at": now, "until": _end_of(taken.lease)}
        row = self._runs.claim([claim]).get(taken.run)
        faults.point("claim.after_claim")
        verdict = row["verdict"] if row else "gone"
        if verdict == "claimed":
            assert row is not None
            return build(Run, row)
        if verdict == "readmitted":
            # Its own executor goes on with it: that one hears of it by its heartbeat, which this wakes.
            self._index.mailbox.publish_run(taken.organization, taken.run, SnapshotStatus.EXECUTING)
        elif verdict in ("other_version", "other_node"):
            self._move_lane(taken, now)
        elif verdict in ("too_late", "busy"):
            # It goes back by the lease that was seen: what the sweep has given to others meanwhile stays theirs.
            log.warning("%s was not claimed by %s: %s", taken.run, wish["executor"], verdict)
            self._index.nack(taken.organization, taken.run, taken.lease, now)
            raise NotNow
        elif verdict == "version_missing":
            assert row is not None
            self._park(taken, int(row["was"]), now)
        else:
            run = self._runs.any(taken.run)
            if run is not None and _is_as_wished(run, wish):
                return run
            self._put_right(taken, run, now)
        return None

    def _move_lane(self, taken: Taken, now: datetime) -> None:
        """The queue had it in a lane of before: given back there, it would be taken and given back without end."""
        self._index.drop(taken.organization, taken.run, taken.lease, now)
        run = self._runs.any(taken.run)
        if run is not None and run.snapshot_status in WAITING:
            self._index.enqueue([run], now)

    def _park(self, taken: Taken, snapshot: int, now: datetime) -> None:
        """The current version lost the run's task: it waits for one that has it."""
        moved = self._runs.move(
            Move(taken.run, snapshot, Event.VERSION_MISSING, now, description="no version has its task")
        )
        if moved:
            self._index.settled([moved], now)
        else:
            self._put_right(taken, self._runs.any(taken.run), now)

    def _put_right(self, taken: Taken, run: Run | None, now: datetime) -> None:
        """The queue had an entry that the store knows better: its slots stay only if somebody runs it."""
        if run is not None and run.snapshot_status == SnapshotStatus.QUEUED and is_resident(taken.lane):
            # It was handed back meanwhile: it waits for an executor now, in a lane that these serve.
            self._index.drop(taken.organization, taken.run, taken.lease, now)
            self._index.enqueue([run], now)
        elif run is not None and run.snapshot_status in WAITING:
            self._index.nack(taken.organization, taken.run, taken.lease, now)
        elif run is None or run.snapshot_status not in SLOT_HOLDING:
            self._index.drop(taken.organization, taken.run, taken.lease, now)


def _end_of(lease: int) -> datetime:
    return datetime.fromtimestamp(lease / 1000, UTC)


def _is_as_wished(run: Run, wish: dict[str, object]) -> bool:
    """Whether it is the executor's already: the claim was stored, and its answer lost."""
    starts = wish["start"] and run.checkpoint_id is None
    stands = SnapshotStatus.EXECUTING if starts else SnapshotStatus.PENDING_EXECUTING
    return run.executor_id == wish["executor"] and run.snapshot_status == stands
