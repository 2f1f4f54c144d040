"""What executors ask for: the next run (telling of the last one in the same breath), a start, a heartbeat, log lines."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis

from sojourn.control_plane import faults
from sojourn.control_plane.domain.due_runs import Taken
from sojourn.control_plane.domain.failure import internal_error
from sojourn.control_plane.domain.lanes import lane_of
from sojourn.control_plane.domain.lifecycle import BLOCKED
from sojourn.control_plane.engine.annotating import Annotating, NumberedChange
from sojourn.control_plane.engine.assigning import Assigning
from sojourn.control_plane.engine.claiming import Claiming, NotNow
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.errors import PacketMissing, PacketsUnavailable, Stale
from sojourn.control_plane.engine.freezing import Freezing
from sojourn.control_plane.engine.indexing import CURRENT, Index, frozen_version, milliseconds
from sojourn.control_plane.engine.outcomes import Outcome, Outcomes, Settled
from sojourn.control_plane.engine.turns import Turns
from sojourn.control_plane.engine.waiting import WAIT_IS_OVER, Done, Waiting
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.store.database import Deadlock, StoreUnavailable
from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.telemetry.logs import Line, Logs
from sojourn.sdk.protocol import Completion, ErrorCode, SnapshotStatus

log = logging.getLogger(__name__)

#: While Redis is away or being rebuilt, an executor's poll is answered after this many seconds.
_BREATH = 0.5
#: Executors whose nodes' types are known to be stored.
_NOTED_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Completed:
    """An attempt that an executor tells of. `refused`: why changes of metadata, beside these, make no sense."""

    run: str
    snapshot: int
    token: str
    attempt: int
    outcome: Outcome
    lines: Sequence[Line] = ()
    changes: Sequence[NumberedChange] = ()
    refused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NextRequest:
    """`wait`: seconds to wait for a run; None: no run is wanted any more. `served`: runs this executor has had.

    `again`: the same request was sent before and its answer was lost. `isolation`: what runs are kept in there.
    `node_type`: what its node is, if it can thaw frozen runs of that type.
    """

    wait: float | None
    served: int = 0
    again: bool = False
    completed: Completed | None = None
    isolation: str | None = None
    node_type: str | None = None


@dataclass(frozen=True, slots=True)
class NextAnswer:
    """`assignment`: a run, its attempt begun; or a frozen one to thaw. `leave`: a reason to exit. Neither: ask again."""

    settled: Settled | None = None
    assignment: dict[str, Any] | None = None
    leave: str | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """`state`: continue, cancel (from `snapshot` on) or stop. `done`: waits that are over, of those that were asked for."""

    state: str
    snapshot: int | None = None
    is_blocked: bool = False
    done: Sequence[Done] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """`lease`: how long an executor may be silent. `quantum_runs`: runs before it may have to give way."""

    lease: timedelta = timedelta(seconds=60)
    quantum_runs: int = 20
    quantum: timedelta = timedelta(seconds=1)


class Attempts:
    """The worker API's use cases."""

    def __init__(
        self,
        *,
        runs: Runs,
        index: Index,
        claiming: Claiming,
        outcomes: Outcomes,
        assigning: Assigning,
        freezing: Freezing,
        credentials: Credentials,
        turns: Turns,
        logs: Logs,
        executors: Executors,
        waiting: Waiting,
        annotating: Annotating,
        clock: Callable[[], datetime],
        timing: Timing,
    ):
        self._runs = runs
        self._index = index
        self._claiming = claiming
        self._outcomes = outcomes
        self._assigning = assigning
        self._freezing = freezing
        self._credentials = credentials
        self._turns = turns
        self._logs = logs
        self._executors = executors
        self._waiting = waiting
        self._annotating = annotating
        self._clock = clock
        self._timing = timing
        self._noted: set[str] = set()

    # --- next

    def next(self, executor: ExecutorIdentity, request: NextRequest, now: datetime) -> NextAnswer:
        """Settles what is told, then finds the executor's next run, waiting for one if need be."""
        if request.isolation:
            self._executors.isolated(executor.executor, request.isolation)
        if request.node_type:
            self._note_node(executor.executor, request.node_type)
        settled = self._settle(executor, request.completed, now) if request.completed else None
        if settled and settled.result is Completion.RETRY_IMMEDIATELY:
            return NextAnswer(settled)
        if request.wait is None:
            self._free(settled, now)
            # Its last poll may still be open here, with nobody at the other end: nothing must be handed to that.
            self._index.unpark(executor.organization, executor.executor)
            self._take_back(executor, now)
            return NextAnswer(settled, leave="no further run was asked for")
        if request.served == 0 or request.again:
            held = self._held(executor, request.node_type, settled, now)
            if held is not None:
                self._free(settled, now)
                return held
        if self._must_give_way(executor, request):
            self._free(settled, now)
            return NextAnswer(settled, leave="another environment is due")
        return self._find(executor, request.node_type, settled, request.wait, now)

    def _note_node(self, executor: str, node_type: str) -> None:
        """It is told with each request; each process of the control plane writes it down once."""
        if executor not in self._noted:
            if len(self._noted) >= _NOTED_AT_MOST:
                self._noted.clear()
            self._executors.is_of_type(executor, node_type)
            self._noted.add(executor)

    def _settle(self, executor: ExecutorIdentity, completed: Completed, now: datetime) -> Settled:
        self._credentials.check_run(completed.token, completed.run, executor.executor)
        if completed.changes or completed.refused:
            self._change_last(executor, completed)
        self._keep_last_lines(executor, completed)
        settled = self._outcomes.settle(completed.run, completed.snapshot, executor.executor, completed.outcome, now)
        faults.point("attempt.after_settle")
        return settled

    def _change_last(self, executor: ExecutorIdentity, completed: Completed) -> None:
        """Changes of metadata that cannot be made do not stand in the way of the run's end, either."""
        try:
            refused = (
                self._annotating.change_from_run(executor.environment, completed.run, completed.changes)
                if completed.changes
                else []
            )
        except (StoreUnavailable, Deadlock):
            raise
        except Exception:
            log.exception("the last %d changes of the metadata of %s are lost", len(completed.changes), completed.run)
            return
        for why in (*completed.refused, *refused):
            log.warning("the metadata of %s was not changed: %s", completed.run, why)

    def _keep_last_lines(self, executor: ExecutorIdentity, completed: Completed) -> None:
        """Lines that cannot be kept do not stand in the way of the run's end; a store that is away is asked again."""
        if not completed.lines:
            return
        try:
            self._logs.append(executor.environment, completed.run, completed.lines)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("the last %d log lines of %s are lost", len(completed.lines), completed.run)

    def _free(self, settled: Settled | None, now: datetime) -> None:
        """Tells the queue and the waiters of a settled run, when no dequeue follows that would do it."""
        if settled and settled.moved:
            self._index.settled([settled.moved], now)

    def _take_back(self, executor: ExecutorIdentity, now: datetime) -> None:
        """An executor that leaves runs nothing: what it was given in an answer that it did not read goes back."""
        for run in self._runs.held_by(executor.executor):
            self._outcomes.take_back(run, now)

    def _must_give_way(self, executor: ExecutorIdentity, request: NextRequest) -> bool:
        """Asked at the end of each quantum only: others wait for a place, and none is free."""
        if request.served == 0:
            return False
        took = request.completed.outcome.usage_ms if request.completed else 0
        long_run = took >= self._timing.quantum / timedelta(milliseconds=1)
        if not long_run and request.served % self._timing.quantum_runs:
            return False
        return self._turns.must_give_way(executor.environment, executor.region)

    def _held(
        self, executor: ExecutorIdentity, node_type: str | None, settled: Settled | None, now: datetime
    ) -> NextAnswer | None:
        """The run that the executor was placed for, or was given in an answer that it never got."""
        for run in self._runs.held_by(executor.executor):
            if run.checkpoint_id is not None:
                work = self._to_thaw(run, node_type, now)
                if work is not None:
                    # Its lease was the placement's, or counts from the answer that was lost.
                    self._beat(executor, run.id, run.snapshot, now)
                    return NextAnswer(settled, work)
            elif run.snapshot_status == SnapshotStatus.PENDING_EXECUTING:
                started = self._begin(run.id, run.snapshot, executor, now)
                if started:
                    work = self._assigned(started, now)
                    if work is not None:
                        return NextAnswer(settled, work)
            elif run.snapshot_status == SnapshotStatus.PENDING_CANCEL:
                self._outcomes.lose(run, {}, now)
            elif run.snapshot_status == SnapshotStatus.EXECUTING:
                # Its lease counts from the answer that was lost, and the executor's from this one.
                beat = self._beat(executor, run.id, run.snapshot, now)
                work = self._assigned(run, now) if beat.state == "continue" else None
                return NextAnswer(settled, work) if work is not None else None
        return None

    def _to_thaw(self, run: Run, node_type: str | None, now: datetime) -> dict[str, Any] | None:
        """The assignment of a frozen run that was dequeued; None when it cannot be thawed here, and waits again.

        An executor that was placed for it may not know yet what its node is: it sees for itself whether it fits.
        """
        if node_type is not None and run.frozen_on != node_type:
            self._outcomes.misplaced(run, node_type, now)
            return None
        thaw = self._freezing.thaw(run)
        if thaw is None:
            self._outcomes.unthawable(run, now)
            return None
        return self._assigning.assignment(run, now) | {"thaw": thaw}

    def _work(self, run: Run, node_type: str | None, now: datetime) -> dict[str, Any] | None:
        if run.checkpoint_id is not None:
            return self._to_thaw(run, node_type, now)
        return self._assigned(run, now)

    def _assigned(self, run: Run, now: datetime) -> dict[str, Any] | None:
        """The assignment of a run whose attempt has begun; None, and the run is over, if its payload is gone.

        While the object store is away it waits again: an executor that held it would lose it with its lease.
        """
        try:
            return self._assigning.assignment(run, now)
        except PacketsUnavailable as away:
            log.warning("%s waits again, since its payload cannot be read: %s", run.id, away)
            self._outcomes.unread(run, str(away), self._clock())
            return None
        except PacketMissing:
            error = internal_error(ErrorCode.TASK_INPUT_ERROR, "its payload is not in the object store any more")
            outcome = Outcome(ok=False, error=error, skipped_retrying=True)
            self._free(self._outcomes.settle(run.id, run.snapshot, run.executor_id or "", outcome, now), now)
            return None

    def _find(
        self, executor: ExecutorIdentity, node_type: str | None, settled: Settled | None, wait: float, now: datetime
    ) -> NextAnswer:
        deadline, poll = now + timedelta(seconds=wait), secrets.token_hex(8)
        with self._index.mailbox.open_executor(executor.organization, executor.executor) as box:
            first = True
            while True:
                now = self._clock()  # settling, or a claim, may have taken long: a lease counts from this moment
                try:
                    taken = self._take(executor, node_type, settled if first else None, deadline, poll, now)
                except NotNow:  # it does not wait in the queue: it is to ask again
                    time.sleep(_BREATH)
                    return NextAnswer(settled)
                if taken is None:
                    left = (deadline - now).total_seconds()
                    message = box.get(max(left, 0)) if left > 0 else None
                    taken = (
                        Taken.from_json(message, executor.organization) if message else self._last_look(executor, box, poll)
                    )
                    now = self._clock()
                first = False
                if taken is None:
                    return NextAnswer(settled)
                try:
                    run = self._claiming.claim_and_start(taken, executor, now, node_type)
                except NotNow:
                    time.sleep(_BREATH)
                    return NextAnswer(settled)
                work = self._work(run, node_type, now) if run is not None else None
                if work is not None:
                    return NextAnswer(settled, work)

    def _take(
        self,
        executor: ExecutorIdentity,
        node_type: str | None,
        settled: Settled | None,
        deadline: datetime,
        poll: str,
        now: datetime,
    ) -> Taken | None:
        """Frees the settled run's slots and takes the next run, in one round trip; parks the executor if none is due.

        `NotNow` while the queue cannot be asked.
        """
        lanes = self._lanes(executor, node_type, now)
        done = settled.moved if settled and settled.moved else None
        try:
            taken = self._index.queue.next(
                executor.organization,
                milliseconds(now),
                done=done.id if done else None,
                lanes=lanes,
                executor=executor.executor,
                park_until_ms=milliseconds(deadline),
                message=done.status if done else "",
                poll=poll,
            )
        except (NotReady, redis.RedisError) as error:
            if done is not None:
                self._index.announce(done)
            if isinstance(error, NotReady):
                self._index.ring("sweeper")
            raise NotNow from error
        if done is not None:
            self._index.follow_up([done], now)
        return taken

    def _last_look(self, executor: ExecutorIdentity, box: Any, poll: str) -> Taken | None:
        """No longer idle in this poll; a run that was handed over at the last moment is in the box."""
        try:
            self._index.queue.unpark(executor.organization, executor.executor, poll)
        except (redis.RedisError, NotReady):
            return None
        message = box.get(0)
        return Taken.from_json(message, executor.organization) if message else None

    def _lanes(self, executor: ExecutorIdentity, node_type: str | None, now: datetime) -> list[str]:
        versions = [CURRENT] if self._claiming.is_current(executor, now) else []
        versions.append(executor.version)
        if node_type:
            versions.append(frozen_version(executor.version, node_type))
        return [lane_of(executor.environment, version, executor.machine, executor.region) for version in versions]

    # --- the other calls

    def start(self, executor: ExecutorIdentity, run_id: str, snapshot: int, token: str, now: datetime) -> dict[str, Any]:
        """The assignment of a run that its executor tries again; `Stale` when the run has moved on."""
        self._credentials.check_run(token, run_id, executor.executor)
        run = self._begin(run_id, snapshot, executor, now)
        work = self._assigned(run, now) if run is not None else None
        if work is None:
            raise Stale
        return work

    def heartbeat(
        self,
        executor: ExecutorIdentity,
        run_id: str,
        snapshot: int,
        token: str,
        wait: float,
        now: datetime,
        pending: Sequence[str] = (),
    ) -> Beat:
        """Renews the lease, then answers when `wait` seconds are over or something happened to the run.

        `pending`: keys of waits that the run's process was not given yet.
        """
        self._credentials.check_run(token, run_id, executor.executor)
        deadline = now + timedelta(seconds=wait)
        with self._index.mailbox.open_run(executor.organization, run_id) as box:
            while True:
                beat = self._beat(executor, run_id, snapshot, now, pending)
                left = (deadline - now).total_seconds()
                went_on = beat.snapshot is not None and not beat.is_blocked
                if beat.state != "continue" or beat.done or went_on or left <= 0:
                    return beat
                # A wait that is over may be one that this beat does not ask for yet: the next one does.
                if box.get(left) in (None, WAIT_IS_OVER):
                    return self._beat(executor, run_id, snapshot, self._clock(), pending)
                now = self._clock()

    def _beat(
        self, executor: ExecutorIdentity, run_id: str, snapshot: int, now: datetime, pending: Sequence[str] = ()
    ) -> Beat:
        row = self._runs.beat(
            {
                "run": run_id,
                "snapshot": snapshot,
                "executor": executor.executor,
                "lease_until": now + self._timing.lease,
            }
        )
        if row is None or not row["ours"]:
            return Beat("stop")
        if row["renewed"]:
            is_blocked = row["snapshot_status"] in BLOCKED
            newer = row["snapshot"] if row["snapshot"] != snapshot else None
            done = self._waiting.done(run_id, pending) if pending and not is_blocked else ()
            return Beat("continue", newer, is_blocked, done)
        if row["snapshot_status"] == SnapshotStatus.PENDING_CANCEL:
            return Beat("cancel", row["snapshot"])
        return Beat("stop")

    def append_logs(
        self,
        executor: ExecutorIdentity,
        run_id: str,
        token: str,
        lines: Sequence[Line],
        changes: Sequence[NumberedChange] = (),
    ) -> list[str]:
        """Keeps log lines of a run that the executor has, or has just had, and changes its metadata; what was refused."""
        self._credentials.check_run(token, run_id, executor.executor)
        refused = self._annotating.change_from_run(executor.environment, run_id, changes) if changes else []
        if lines:
            self._logs.append(executor.environment, run_id, lines)
        return refused

    def _begin(self, run_id: str, snapshot: int, executor: ExecutorIdentity, now: datetime) -> Run | None:
        """The run with its next attempt begun, by this call or by one like it whose answer was lost."""
        started = self._runs.start(
            {
                "run": run_id,
                "snapshot": snapshot,
                "executor": executor.executor,
                "at": now,
                "lease_until": now + self._timing.lease,
            }
        )
        if started is not None:
            return started
        held = self._runs.find(executor.environment, run_id)
        lost_answer = (
            held is not None
            and held.snapshot == snapshot + 1
            and held.executor_id == executor.executor
            and held.snapshot_status == SnapshotStatus.EXECUTING
        )
        return held if lost_answer else None
