"""Telling the queue and the waiters what happened to runs. Never decides anything, never fails its caller.

The store has it already. What does not reach Redis is found by the sweep, within seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import redis

from sojourn.control_plane.domain.due_runs import Entry
from sojourn.control_plane.domain.lanes import RESIDENT
from sojourn.control_plane.domain.lifecycle import SLOT_HOLDING
from sojourn.control_plane.queue.fair_queue import FairQueue, NotReady
from sojourn.control_plane.queue.mailbox import Mailbox
from sojourn.control_plane.queue.wakeups import Wakeups
from sojourn.control_plane.store.records import Moved, Run
from sojourn.sdk.protocol import SnapshotStatus

log = logging.getLogger(__name__)

#: The lane's version of a run that was not pinned yet.
CURRENT = "current"


def frozen_version(version: str, node_type: str) -> str:
    """The version of a frozen run's lane: executors on nodes of that type alone serve it."""
    return f"{version}@{node_type}"


def milliseconds(moment: datetime) -> int:
    """Unix time in ms, as the queue counts."""
    return int(moment.timestamp() * 1000)


def entry_of(run: Run | Moved) -> Entry:
    """A run that is to wait in the queue, as the queue takes it."""
    assert run.queued_at is not None
    return Entry(
        run=run.id,
        organization=run.organization_id,
        environment=run.environment_id,
        version=_version_of(run),
        machine=run.machine,
        queue=run.queue,
        key=run.concurrency_key or "",
        score=milliseconds(run.queued_at) - run.priority_ms,
        region=run.region,
    )


def _version_of(run: Run | Moved) -> str:
    if run.snapshot_status == SnapshotStatus.QUEUED_EXECUTING:
        return RESIDENT  # its lane is nobody's: whoever dequeues it lets it go on
    version = run.version_id or run.locked_version_id or CURRENT
    return frozen_version(version, run.frozen_on) if run.frozen_on else version


class Index:
    """The queue and the channels, behind calls that only log when Redis is away."""

    def __init__(self, queue: FairQueue, mailbox: Mailbox, wakeups: Wakeups):
        self.queue = queue
        self.mailbox = mailbox
        self._wakeups = wakeups
        #: Told of runs that are over and that other runs wait for; set once everything is wired.
        self.on_awaited: Callable[[Sequence[Run | Moved], datetime], None] = lambda runs, now: None

    def enqueue(self, runs: Sequence[Run | Moved], now: datetime) -> None:
        """Adds QUEUED runs. The queue hands them to idle executors, or wakes the dispatcher."""
        if not runs:
            return
        with self._left_to_the_sweep("enqueue"):
            self.queue.enqueue([entry_of(run) for run in runs], milliseconds(now))

    def settled(self, moved: Iterable[Run | Moved], now: datetime) -> None:
        """After moves: frees what runs no longer hold, queues those that may run, wakes whoever waits for them."""
        moved = list(moved)
        for run in moved:
            if run.snapshot_status not in _KEEP_SLOTS:
                self.ack(run.organization_id, run.id, now)
        # Taken out first: its lane may be another one now, since its first claim pins a run to a version.
        self.follow_up(moved, now)
        for run in moved:
            self.announce(run)

    def resumed(self, moved: Sequence[Run | Moved], now: datetime) -> None:
        """After moves of runs that were blocked or frozen, which the queue has not known since: see `release`.

        They are not taken out first, as in `settled`: that might strike what somebody faster has done with them since.
        """
        self.follow_up(moved, now)
        for run in moved:
            self.announce(run)

    def release(self, run: Run, now: datetime) -> None:
        """A run is about to be blocked: it leaves the queue, and its slots are free.

        Before that is stored: later, it might be waiting in the queue again, or have its slots again, since whatever it
        waits for may be over at once.
        """
        self.ack(run.organization_id, run.id, now)

    def regain(self, run: Run, now: datetime) -> None:
        """The run was not blocked by whoever released it: it holds its slots, free or not, or waits for them."""
        if run.snapshot_status in SLOT_HOLDING:
            with self._left_to_the_sweep(f"slots of {run.id}"):
                self.queue.restore(run.organization_id, in_flight=[entry_of(run)], now_ms=milliseconds(now))
        elif run.snapshot_status in WAITING:
            self.enqueue([run], now)

    def leases(self, runs: Sequence[tuple[str, str]]) -> dict[str, float]:
        """The queue's leases on runs, each as (organization, run), for `drop`, of those that have one."""
        by_organization: dict[str, list[str]] = {}
        for organization, run in runs:
            by_organization.setdefault(organization, []).append(run)
        found: dict[str, float] = {}
        for organization, names in by_organization.items():
            with self._left_to_the_sweep(f"look at {len(names)} runs"):
                found |= self.queue.leases(organization, names)
        return found

    def follow_up(self, moved: Sequence[Run | Moved], now: datetime) -> None:
        """What is left to do for moved runs that the queue has forgotten already, and whose waiters know."""
        self.enqueue([run for run in moved if run.snapshot_status in WAITING], now)
        if any(run.snapshot_status == SnapshotStatus.DELAYED for run in moved):
            self.ring("stager")
        over = [run for run in moved if run.awaited and run.snapshot_status == SnapshotStatus.FINISHED]
        if over:
            self.on_awaited(over, now)

    def size(self, organization: str) -> int:
        """How many runs the queue knows; 0 when it cannot be asked."""
        try:
            return self.queue.size(organization)
        except redis.RedisError:
            return 0

    def ack(self, organization: str, run_id: str, now: datetime) -> None:
        """Takes a run out of the queue for good."""
        with self._left_to_the_sweep(f"ack of {run_id}"):
            self.queue.ack(organization, run_id, milliseconds(now))

    def drop(self, organization: str, run_id: str, seen: float | None, now: datetime) -> None:
        """`ack` of a run that was seen with that lease (None: without), unless it was taken again since."""
        with self._left_to_the_sweep(f"removal of {run_id}"):
            self.queue.drop(organization, run_id, milliseconds(now), seen)

    def nack(self, organization: str, run_id: str, seen: float, now: datetime) -> None:
        """Gives a run that was dequeued, but not claimed, its place back, unless it was taken again since."""
        with self._left_to_the_sweep(f"nack of {run_id}"):
            self.queue.nack(organization, run_id, milliseconds(now), seen=seen)

    @contextmanager
    def _left_to_the_sweep(self, what: str) -> Iterator[None]:
        """What the queue cannot take now is found by the sweep; it is woken where a loss is known."""
        try:
            yield
        except NotReady:
            self.ring("sweeper")
        except redis.RedisError as error:
            log.warning("%s left to the sweep: %s", what, error)

    def unpark(self, organization: str, executor: str) -> None:
        """An executor that is gone, or about to go, waits for no run."""
        try:
            self.queue.unpark(organization, executor)
        except redis.RedisError as error:
            log.warning("%s was not taken out of the line: %s", executor, error)

    def announce(self, run: Run | Moved) -> None:
        """Tells whoever waits for the run: clients for its result, its executor for a cancellation."""
        self.mailbox.publish_run(run.organization_id, run.id, run.status)

    def ring(self, service: str) -> None:
        """Wakes a scheduler's service before its next look."""
        try:
            self._wakeups.ring(service)
        except redis.RedisError as error:
            log.warning("%s was not woken: %s", service, error)


#: A run in one of these waits in the queue.
WAITING = frozenset({SnapshotStatus.QUEUED, SnapshotStatus.QUEUED_EXECUTING})
_KEEP_SLOTS = frozenset(
    {
        SnapshotStatus.PENDING_EXECUTING,
        SnapshotStatus.EXECUTING,
        SnapshotStatus.PENDING_CANCEL,
    }
)
