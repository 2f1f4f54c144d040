"""Waiting: what a run waits for is made and tied, the run is blocked, and goes on when it has what it needs.

Level-triggered: whoever completes a waitpoint looks which runs have what they need now, whoever blocks or freezes a run
looks once more after that is stored, and a sweep looks at them all. So the order of these never matters.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane import faults
from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.lifecycle import OF_A_WAIT, Event
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.errors import PacketMissing, PacketsUnavailable, Stale
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.outputs import Outputs
from sojourn.control_plane.store.records import Moved, Run, Wait
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.control_plane.store.waits import Completion, Concerned, Ready, Waits
from sojourn.sdk.protocol import SnapshotStatus

log = logging.getLogger(__name__)

#: A run that moves while it is to go on is looked at again, so often before the sweep is left to it.
_TRIES = 5
_AT_ONCE = 500
#: Bytes of results in one answer, unless the first alone is larger. Whoever has not all that is over asks again.
_AN_ANSWER = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wish:
    """One wait that a process begins. `kind`: date (`at`), token (`waitpoint`) or run (`awaited`)."""

    key: str
    kind: str
    at: datetime | None = None
    waitpoint: str | None = None
    awaited: str | None = None
    idempotency_key: str | None = None
    idempotency_ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class WaitRequest:
    """`waits` are new; `pending`: every key that the process was not given yet; `block`: any, all, or None.

    `hold`: why the process cannot be frozen, if that is so. `call` grows from one call about a run to the next.
    """

    run: str
    snapshot: int
    token: str
    waits: Sequence[Wish] = ()
    pending: Sequence[str] = ()
    block: str | None = None
    hold: str | None = None
    call: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A wait that is over: `wait` is None for a key that leads nowhere; `run`: the one that was waited for, if any."""

    key: str
    wait: Wait | None = None
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class WaitAnswer:
    """`is_blocked`: the run stands at `snapshot` now, and its slots are free. Else `done` has what is over already.

    A wait that leads nowhere is always told. Of large results there may be more than are told at once.
    """

    is_blocked: bool
    snapshot: int
    done: Sequence[Done] = field(default_factory=tuple)


class Waiting:
    """The use cases of waits."""

    def __init__(self, runs: Runs, waits: Waits, index: Index, credentials: Credentials, outputs: Outputs):
        self._runs = runs
        self._waits = waits
        self._index = index
        self._credentials = credentials
        self._outputs = outputs

    # --- a run begins to wait

    def wait(self, executor: ExecutorIdentity, request: WaitRequest, now: datetime) -> WaitAnswer:
        """Makes and ties the waits, and blocks the run if that is asked and it has not what it needs. `Stale`.

        A call that is repeated answers what the first one did, or what has come of it since. One that a later one has
        overtaken is stale: its executor waits for the answer to that one, and may have gone on since.
        """
        self._credentials.check_run(request.token, request.run, executor.executor)
        run = self._held(executor, request)
        if request.call is not None and not self._waits.take_call(run.id, request.call):
            raise Stale
        if request.waits:
            self._begin(run, request.waits, now)
        if run.snapshot_status != SnapshotStatus.EXECUTING:
            return self._still_blocked(run, request, now)
        over, nowhere = self._over(run.id, request.pending)
        # What leads nowhere is told at once: whoever waits for it with others must not learn of it after a month.
        if request.block is None or nowhere or _is_enough(request.block, len(over), len(set(request.pending))):
            return WaitAnswer(is_blocked=False, snapshot=run.snapshot, done=self._told(run.id, over, nowhere))
        return self._block(executor, run, request, now)

    def done(self, run_id: str, keys: Sequence[str]) -> list[Done]:
        """What is over of a run's waits by those keys, as much of it as fits into one answer.

        One that is not stored is left out: a beat may ask for it before the call that stores it.
        """
        return self._told(run_id, self._over(run_id, keys)[0], ()) if keys else []

    def _over(self, run_id: str, keys: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """The keys of the waits that are over, with the bytes of their results; those that lead nowhere."""
        standing = {each.key: each for each in self._waits.standing(run_id, keys)} if keys else {}
        over = {key: standing[key].bytes for key in dict.fromkeys(keys) if key in standing and standing[key].is_done}
        return over, [key for key in dict.fromkeys(keys) if key not in standing]

    def _told(self, run_id: str, over: Mapping[str, int], nowhere: Sequence[str]) -> list[Done]:
        """Results for an answer, which would be of any size with all that are there."""
        chosen: list[str] = []
        size = 0
        for key, length in over.items():
            size += length
            if chosen and size > _AN_ANSWER:
                break
            chosen.append(key)
        waits = self._waits.of_run(run_id, chosen) if chosen else []
        awaited = self._waits.awaited([wait.run_id for wait in waits if wait.run_id])
        until = self._outputs.deadline()
        told = [Done(key) for key in nowhere]
        size = 0
        for wait in waits:  # what lies in the object store has shown its size to nobody yet
            done = self._readable(Done(wait.key, wait, awaited.get(wait.run_id or "")), until)
            if done is not None:
                told.append(done)
                size += len(done.run.output or "") if done.run is not None else 0
            if size > _AN_ANSWER:
                break
        return told

    def _readable(self, done: Done, until: float) -> Done | None:
        """A wait with the result that it is to be told with; None while the object store, which has that, is away or slow.

        An answer that waited for the store would come after its executor has given the run up.
        """
        if done.run is None:
            return done
        try:
            return replace(done, run=self._outputs.with_output(done.run, until))
        except PacketsUnavailable as error:
            log.warning("the result of %s is told later: %s", done.run.id, error)
            return None
        except PacketMissing:
            return replace(done, run=None)

    def _held(self, executor: ExecutorIdentity, request: WaitRequest) -> Run:
        """The run, if the executor has it and stands where it says, or was moved since by nothing but its own wait."""
        run = self._runs.find(executor.environment, request.run)
        if run is None or run.executor_id != executor.executor:
            raise Stale
        if run.snapshot == request.snapshot and run.snapshot_status in _HELD:
            return run
        since = [row.event for row in self._runs.history(run.id, after=request.snapshot)]
        if not since or any(event not in OF_A_WAIT for event in since):
            raise Stale
        return run

    def _begin(self, run: Run, wishes: Sequence[Wish], now: datetime) -> None:
        documents = [_document(run, wish, now) for wish in wishes]
        self._waits.make(run.environment_id, documents, now)
        faults.point("wait.after_make")
        self._waits.tie(run, documents, now)
        awaited = [wish.awaited for wish in wishes if wish.awaited]
        over = self._waits.over_runs(awaited, len(awaited)) if awaited else []
        completions = [Completion(now, "run", run=each) for each in over]
        completions += [
            Completion(now, "date", waitpoint=str(document["id"]))
            for wish, document in zip(wishes, documents, strict=True)
            if wish.at is not None and wish.at <= now and wish.idempotency_key is None
        ]
        keyed = [wish.key for wish in wishes if wish.at is not None and wish.idempotency_key is not None]
        completions += [
            Completion(now, "date", waitpoint=wait.id)
            for wait in (self._waits.of_run(run.id, keyed) if keyed else ())
            if not wait.is_done and wait.due_at is not None and wait.due_at <= now
        ]
        self._go_on(self._waits.complete(completions), now)
        if any(wish.at is not None and wish.at > now for wish in wishes):
            self._index.ring("waker")

    def _still_blocked(self, run: Run, request: WaitRequest, now: datetime) -> WaitAnswer:
        """The answer was lost, or the process needs something else now: nothing any more, when something else woke it."""
        need, keys = (request.block, list(request.pending)) if request.block else ("all", [])
        if (run.wait_need, run.wait_keys) != (need, keys):
            self._waits.need(run.id, run.snapshot, need, keys)
        if request.hold and request.hold != run.alive_reason:  # its process was to be frozen, and could not be
            self._runs.waits_alive(run.id, run.snapshot, request.hold)
        self.go_on([run.id], now)  # whoever blocked it may have crashed before it looked
        nowhere = [Done(key) for key in self._over(run.id, keys)[1]]
        return WaitAnswer(is_blocked=True, snapshot=run.snapshot, done=nowhere)

    def _block(self, executor: ExecutorIdentity, run: Run, request: WaitRequest, now: datetime) -> WaitAnswer:
        changes = {"wait_need": request.block, "wait_keys": list(request.pending), "alive_reason": request.hold}
        self._index.release(run, now)
        faults.point("wait.before_block")
        moved = self._runs.move(Move(run.id, run.snapshot, Event.BLOCK, now, changes=changes))
        if moved is None:
            stands = self._runs.find(run.environment_id, run.id)
            if stands is None:
                raise Stale
            self._index.regain(stands, now)
            if stands.snapshot == run.snapshot:
                raise Stale
            # The same call may have come twice at once: where it is the run's own wait that came first, it is answered.
            return self.wait(executor, request, now)
        faults.point("wait.after_block")
        self.keep_out([standing(moved)], now)
        self._index.announce(moved)
        if request.call is not None and not self._waits.take_call(run.id, request.call):
            # A later call has come while this one blocked the run: its process goes on, and is not to stand blocked.
            self._waits.need_nothing(run.id, moved.snapshot, request.block, request.pending)
        # What was completed between the look and the move has found a run that was not blocked.
        self.go_on([run.id], now)
        return WaitAnswer(is_blocked=True, snapshot=moved.snapshot)

    def keep_out(self, standing: Sequence[Ready], now: datetime) -> None:
        """Runs that stand still are in no queue: what is left of them there, or was put back by a sweep, leaves it.

        Else they could not be queued anew, in the lane that they need then. A lease is read before its run: if that
        stands where it stood, the lease is not one that it has won since.
        """
        leases = self._index.leases([(each.organization, each.run) for each in standing])
        snapshots = self._runs.snapshots(list(leases)) if leases else {}
        for each in standing:
            if each.run in leases and snapshots.get(each.run) == each.snapshot:
                self._index.drop(each.organization, each.run, leases[each.run], now)

    # --- something is over

    def complete(self, completions: Sequence[Completion], now: datetime) -> int:
        """Completes waitpoints, and lets the runs go on that have what they need; how many waits were concerned."""
        concerned = self._waits.complete(completions)
        faults.point("wait.after_complete")
        self._go_on(concerned, now)
        return len(concerned)

    def runs_are_over(self, runs: Sequence[Run | Moved], now: datetime) -> None:
        """Runs that others wait for have ended."""
        self.complete([Completion(now, "run", run=run.id) for run in runs], now)

    def _go_on(self, concerned: Sequence[Concerned], now: datetime) -> None:
        if not concerned:
            return
        self.go_on(sorted({each.run for each in concerned}), now)
        for each in concerned:  # one that is not blocked hears of it all the same
            self._index.mailbox.publish_run(each.organization, each.run, WAIT_IS_OVER)

    def go_on(self, run_ids: Sequence[str] | None, now: datetime, limit: int = _AT_ONCE) -> int:
        """Lets runs go on that stand blocked or frozen though they have what they need: of those, or of all. How many."""
        went = tries = 0
        while tries < _TRIES and (ready := self._waits.to_go_on(run_ids, limit)):
            self.keep_out(ready, now)
            moved = self._runs.move_all([_wake(each, now) for each in ready])
            self._index.resumed(moved, now)
            went += len(moved)
            # Whoever waits for one thing may be more than fit into one look; of all there are, the next sweep has the rest.
            if len(moved) == len(ready) and (run_ids is None or len(ready) < limit):
                break
            tries += 0 if moved else 1
        return went

    # --- dates

    def complete_due(self, now: datetime, limit: int = _AT_ONCE) -> int:
        """Dates that have come, and tokens that were waited for long enough; how many."""
        due = self._waits.due(now, limit)
        self.complete([_due(row["id"], row["kind"], now) for row in due], now)
        return len(due)

    def next_due(self) -> datetime | None:
        """When the next one is due."""
        return self._waits.next_due()

    def sweep(self, now: datetime, limit: int = _AT_ONCE) -> int:
        """What a crash has cut apart: runs that ended and nobody was told, runs that could go on. How many."""
        over = self._waits.over_runs(None, limit)
        self.complete([Completion(now, "run", run=each) for each in over], now)
        return len(over) + self.go_on(None, now, limit)


#: Where a run stands that its executor has in memory.
_HELD = (SnapshotStatus.EXECUTING, SnapshotStatus.EXECUTING_WITH_WAITPOINTS, SnapshotStatus.QUEUED_EXECUTING)
_WAKES = {
    SnapshotStatus.EXECUTING_WITH_WAITPOINTS: Event.UNBLOCK_QUEUED,
    SnapshotStatus.SUSPENDED: Event.RESUME,
}
TIMED_OUT = "WAITPOINT_TIMED_OUT"
#: What those are told that listen for a run when one of its waits is over, though the run has not moved.
WAIT_IS_OVER = "WAIT"


def standing(moved: Moved) -> Ready:
    """A run that was moved just now, and stands there."""
    return Ready(moved.id, moved.snapshot, moved.snapshot_status, moved.organization_id)


def _wake(ready: Ready, now: datetime) -> Move:
    return Move(ready.run, ready.snapshot, _WAKES[SnapshotStatus(ready.snapshot_status)], now)


def _due(waitpoint: str, kind: str, now: datetime) -> Completion:
    return Completion(now, "date", waitpoint=waitpoint) if kind == "date" else out_of_time(waitpoint, now)


def out_of_time(waitpoint: str, now: datetime) -> Completion:
    """A token that nobody has completed in time."""
    error = {"name": "WaitpointTimeoutError", "message": "nobody completed the token in time", "code": TIMED_OUT}
    return Completion(now, "timeout", waitpoint, output=json.dumps(error), output_type="application/json", is_error=True)


def _is_enough(need: str, done: int, pending: int) -> bool:
    return done >= pending or (need == "any" and done > 0)


def _document(run: Run, wish: Wish, now: datetime) -> Mapping[str, Any]:
    """A wish as the store takes it. The id comes of the run and the key, so that a repeated call makes nothing twice."""
    drawn = hashlib.sha256(f"{run.id} {wish.key}".encode()).digest()
    ttl = wish.idempotency_ttl
    return {
        "key": wish.key,
        "kind": wish.kind,
        "id": ids.make("waitpoint", run.created_at, drawn),
        "due_at": wish.at,
        "waitpoint": wish.waitpoint,
        "awaited": wish.awaited,
        "idempotency_key": wish.idempotency_key,
        "idempotency_expires_at": now + ttl if ttl is not None and wish.idempotency_key else None,
    }
