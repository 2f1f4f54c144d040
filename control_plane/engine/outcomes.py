"""What an executor says of an attempt, and what becomes of the run: success, retry, failure, cancelled, handed back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from sojourn.control_plane.domain import lifecycle
from sojourn.control_plane.domain.failure import (
    NO_ROOM,
    Decision,
    Fail,
    Failure,
    RetryLater,
    RetryNow,
    RetryOptions,
    decide,
    internal_error,
    truncated,
)
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.packets import Packets, Text
from sojourn.control_plane.store.records import Moved, Run, Snapshot
from sojourn.control_plane.store.runs import Move, Runs, requeue
from sojourn.control_plane.store.versions import Versions
from sojourn.sdk.protocol import (
    MAX_ATTEMPTS,
    MAX_INLINE_BYTES,
    MAX_OUTPUT_BYTES,
    Completion,
    ErrorCode,
    RunStatus,
    SnapshotStatus,
)
from sojourn.sdk.sizes import ESCAPED, exceeds


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as its executor has it. `output` is JSON text; `retry_in` is the executor's wish."""

    ok: bool
    output: str | None = None
    output_type: str = "application/json"
    error: Mapping[str, Any] | None = None
    retry_in: timedelta | None = None
    skipped_retrying: bool = False
    hand_back: bool = False
    usage_ms: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer to *complete*. With RETRY_IMMEDIATELY the executor starts again at `retry_at` from `snapshot`.

    `moved`: the run as it stands, if the queue and its waiters are to be told of that.
    """

    result: Completion
    moved: Moved | Run | None = None
    snapshot: int | None = None
    retry_at: datetime | None = None


class Outcomes:
    """Turns outcomes into moves; the only caller of SUCCEED, FAIL, RETRY_* and HAND_BACK."""

    def __init__(
        self,
        runs: Runs,
        versions: Versions,
        index: Index,
        packets: Packets,
        *,
        immediate_below: timedelta,
        lease: timedelta,
        unit_random: Callable[[], float] = random.random,
    ):
        self._runs = runs
        self._versions = versions
        self._index = index
        self._packets = packets
        self._immediate_below = immediate_below
        self._lease = lease
        self._unit_random = unit_random

    def settle(self, run_id: str, snapshot: int, executor: str, outcome: Outcome, now: datetime) -> Settled:
        """Applies an outcome that came with `snapshot`. Told twice, it answers the same twice.

        Does not touch the queue: the caller frees the slots with whatever it asks of the queue next.
        """
        if outcome.ok:
            unusable = _unusable(outcome.output)
            if unusable is None:
                moved = self._runs.move(_success(run_id, snapshot, self._with_packet(run_id, outcome, now), now))
                return (
                    Settled(Completion.RUN_FINISHED, moved)
                    if moved
                    else self._late(run_id, snapshot, executor, outcome, now)
                )
            outcome = Outcome(ok=False, error=unusable, skipped_retrying=True, usage_ms=outcome.usage_ms)
        run = self._runs.any(run_id)
        if run is None or run.executor_id != executor:
            return Settled(Completion.STALE)
        if run.snapshot != snapshot or run.snapshot_status == SnapshotStatus.PENDING_CANCEL:
            return self._late(run_id, snapshot, executor, outcome, now)
        wish = self._wish(run, outcome, now)
        moved = self._runs.move(wish)
        if moved is None:
            return self._late(run_id, snapshot, executor, outcome, now)
        return _answer(wish.event, moved, wish.changes.get("lease_until"), self._lease)

    def _with_packet(self, run_id: str, outcome: Outcome, now: datetime) -> Outcome:
        """A large output goes to the object store, if that takes it."""
        if outcome.output is None or len(outcome.output) * 4 <= MAX_INLINE_BYTES:
            return outcome
        run = self._runs.any(run_id)
        if run is None:
            return outcome
        kept = self._packets.kept_if_possible(run.environment_id, Text(outcome.output, outcome.output_type), now)
        return replace(outcome, output=kept.text, output_type=kept.media_type)

    def lose(self, run: Run, error: Mapping[str, Any], now: datetime, *, lapsed_by: datetime | None = None) -> Moved | None:
        """A run whose executor is gone: its attempt failed with `error`; None if it has moved on.

        `lapsed_by`: nothing is known of the executor but that its lease was over by then.
        """
        if run.snapshot_status == SnapshotStatus.PENDING_CANCEL:
            wish = _acknowledged(run.id, run.snapshot, 0, now)
        elif run.snapshot_status == SnapshotStatus.PENDING_EXECUTING:
            wish = self._never_started(run, now, str(error.get("message") or "") or None)
        else:
            wish = self._failed(run, Outcome(ok=False, error=error), now, executor_lost=True)
        moved = self._runs.move(replace(wish, lapsed_by=lapsed_by))
        if moved:
            self._index.settled([moved], now)
        return moved

    def take_back(self, run: Run, now: datetime) -> Moved | None:
        """A run that an executor was given, but never ran: it waits again, and no attempt is charged."""
        if run.snapshot_status not in _RUNNING:
            return self.lose(run, {}, now)
        moved = self._runs.move(self._hand_back(run, Outcome(ok=False, hand_back=True), now))
        if moved:
            self._index.settled([moved], now)
        return moved

    def unplaced(self, run: Run, reason: str, now: datetime) -> Moved | None:
        """No place was found for its executor: it waits again, with the reason in its history, and no try is counted."""
        if run.snapshot_status != SnapshotStatus.PENDING_EXECUTING:
            return self.lose(run, executor_gone_error(reason), now)
        return self._apply(requeue(run, now, charged=False, description=reason), now)

    def misplaced(self, run: Run, node_type: str, now: datetime) -> Moved | None:
        """A frozen run was given to an executor of another type of node: it waits again, uncharged, and not for ever."""
        text = f"it was frozen on a node of type {run.frozen_on}, and given to one of type {node_type}"
        return self._apply(self._elsewhere(run, internal_error(_OTHER_NODE, text), 0, now), now)

    def unthawable(self, run: Run, now: datetime) -> Moved | None:
        """A frozen run whose image nobody can read any more, since its key is lost."""
        error = internal_error(ErrorCode.CHECKPOINT_INVALID, "its key cannot be opened: the master key is another one now")
        return self._apply(self._give_up_checkpoint(run, 1, error, 0, now), now)

    def unread(self, run: Run, reason: str, now: datetime) -> Moved | None:
        """Its payload cannot be read now: it waits again, for as long as that lasts, and no attempt is charged."""
        error = internal_error(_UNREAD, f"its payload cannot be read now: {reason}")
        tries = 1 + _ended_so_before(self._runs.history(run.id), _UNREAD)
        return self._apply(_uncharged_later(run, error, tries, now), now)

    def _apply(self, wish: Move, now: datetime) -> Moved | None:
        moved = self._runs.move(wish)
        if moved:
            self._index.settled([moved], now)
        return moved

    def _wish(self, run: Run, outcome: Outcome, now: datetime) -> Move:
        if run.checkpoint_id is not None:
            return self._not_thawed(run, outcome, now)
        return self._hand_back(run, outcome, now) if outcome.hand_back else self._failed(run, outcome, now)

    def _not_thawed(self, run: Run, outcome: Outcome, now: datetime) -> Move:
        """A frozen run that did not come back to life: it waits again with its image, and after some tries without it.

        What says nothing about the image (its executor has to leave, or has no room) counts as a placement at most.
        """
        error = truncated(outcome.error or internal_error(ErrorCode.THAW_FAILED, "its executor gave no error"))
        code = error.get("code")
        if code in (_OTHER_NODE, NO_ROOM):
            return self._elsewhere(run, error, outcome.usage_ms, now)
        if outcome.hand_back and code not in _OF_IMAGES:
            return requeue(run, now, charged=False, error=error, description="its executor had to leave")
        tries = 1 + _thaws_before(self._runs.history(run.id))
        if tries >= MAX_THAWS:
            return self._give_up_checkpoint(run, tries, error, outcome.usage_ms, now)
        return requeue(run, now, charged=False, error=error, description="it was not thawed")

    def _elsewhere(self, run: Run, error: Mapping[str, Any], usage_ms: int, now: datetime) -> Move:
        """Its executor's node does not fit, has no room, or no way to the image. That says nothing about the image.

        Nothing bounds it but a count.
        """
        tries = 1 + _thaws_before(self._runs.history(run.id), _OTHER_NODE, ErrorCode(NO_ROOM))
        if tries >= MAX_DEQUEUES:
            return self._give_up_checkpoint(run, tries, error, usage_ms, now)
        return requeue(run, now, charged=False, error=error, description="it goes elsewhere")

    def _give_up_checkpoint(self, run: Run, tries: int, error: Mapping[str, Any], usage_ms: int, now: datetime) -> Move:
        """The attempt is over, since nothing brings its process back; the next one starts anew."""
        last = error.get("message") or error.get("code")
        text = f"its frozen process could not be thawed, tried {tries} times; the last time: {last}"
        given_up = internal_error(ErrorCode.CHECKPOINT_INVALID, text)
        wish = self._failed(run, Outcome(ok=False, error=given_up, usage_ms=usage_ms), now, executor_lost=True)
        if wish.event is Event.RETRY_LATER:
            nothing_left = {"checkpoint_id": None, "frozen_on": None}
            return replace(wish, source=SnapshotStatus.PENDING_EXECUTING, changes={**wish.changes, **nothing_left})
        return wish

    def _late(self, run_id: str, snapshot: int, executor: str, outcome: Outcome, now: datetime) -> Settled:
        """The snapshot was not the newest: a repetition, a cancellation that came between, or somebody else's run."""
        run = self._runs.any(run_id)
        if run is None or run.executor_id != executor:
            return Settled(Completion.STALE)
        if run.snapshot_status == SnapshotStatus.PENDING_CANCEL:
            moved = self._runs.move(_acknowledged(run_id, run.snapshot, outcome.usage_ms, now))
            return Settled(Completion.RUN_FINISHED, moved) if moved else Settled(Completion.STALE)
        history = self._runs.history(run_id)
        if run.snapshot > snapshot and all(row.event in lifecycle.OF_A_WAIT for row in history if row.seq > snapshot):
            return self.settle(run_id, run.snapshot, executor, outcome, now)
        return self._repeated(run, snapshot, history)

    def _repeated(self, run: Run, snapshot: int, history: Sequence[Snapshot]) -> Settled:
        """What this executor was told, or would have been, when it said the same before."""
        after = next((row for row in history if row.seq == snapshot + 1), None)
        if after is None or after.executor_id != run.executor_id:
            return Settled(Completion.STALE)
        if after.event == Event.RETRY_NOW and run.snapshot == after.seq:
            retry_at = run.lease_until - self._lease if run.lease_until else after.created_at
            return Settled(Completion.RETRY_IMMEDIATELY, snapshot=after.seq, retry_at=retry_at)
        results = {
            Event.SUCCEED: Completion.RUN_FINISHED,
            Event.FAIL: Completion.RUN_FINISHED,
            Event.CANCEL_ACKNOWLEDGED: Completion.RUN_FINISHED,
            Event.RETRY_LATER: Completion.RETRY_QUEUED,
            Event.HAND_BACK: Completion.RETRY_QUEUED,
            Event.REQUEUE: Completion.RETRY_QUEUED,
        }
        # Over for good: whoever said so first may not have lived to tell the queue and the waiters.
        return Settled(
            results.get(Event(after.event), Completion.STALE),
            run if run.snapshot_status == SnapshotStatus.FINISHED else None,
        )

    def _failed(self, run: Run, outcome: Outcome, now: datetime, *, executor_lost: bool = False) -> Move:
        error = truncated(outcome.error or internal_error(ErrorCode.UNSPECIFIED_ERROR, "the executor gave no error"))
        failure = Failure(
            error,
            retry_at=None if outcome.retry_in is None else now + outcome.retry_in,
            skipped_retrying=outcome.skipped_retrying,
            executor_lost=executor_lost,
        )
        decision = decide(
            failure,
            attempt=run.attempt,
            max_attempts=run.max_attempts,
            machine=run.machine,
            options=self._options(run),
            now=now,
            immediate_below=self._immediate_below,
            unit_random=self._unit_random(),
        )
        return self._move_for(decision, run, error, outcome, now)

    def _move_for(self, decision: Decision, run: Run, error: Mapping[str, Any], outcome: Outcome, now: datetime) -> Move:
        if isinstance(decision, Fail):
            return _failure(run.id, run.snapshot, decision.status, error, outcome.usage_ms, now)
        if isinstance(decision, RetryNow) and run.snapshot_status == SnapshotStatus.EXECUTING:
            event = Event.RETRY_NOW
            changes: dict[str, Any] = {"lease_until": decision.at + self._lease}
        else:
            event = Event.RETRY_LATER
            changes = {"available_at": decision.at, "queued_at": decision.at, "lease_until": None, "dequeues": 0}
            if isinstance(decision, RetryLater) and decision.machine:
                changes["machine"] = decision.machine
        source = _begun(run) if event is Event.RETRY_LATER else None
        return Move(
            run.id, run.snapshot, event, now, source=source, changes=changes, usage_ms=outcome.usage_ms, error=error
        )

    def _hand_back(self, run: Run, outcome: Outcome, now: datetime) -> Move:
        if (outcome.error or {}).get("code") == NO_ROOM:
            return self._without_room(run, outcome, now)
        changes = {"lease_until": None, "max_attempts": min(run.max_attempts + 1, MAX_ATTEMPTS), "dequeues": 0}
        return Move(
            run.id, run.snapshot, Event.HAND_BACK, now, changes=changes, usage_ms=outcome.usage_ms, error=outcome.error
        )

    def _without_room(self, run: Run, outcome: Outcome, now: datetime) -> Move:
        """Its executor had no memory, processes or disk for it: it is tried again, uncharged, and not for ever."""
        error = truncated(outcome.error or {})
        tries = 1 + _ended_so_before(self._runs.history(run.id), NO_ROOM)
        if tries >= MAX_DEQUEUES:
            text = f"no executor had room for it in {tries} placements; the last time {error.get('message')}"
            given_up = internal_error(ErrorCode.TASK_RUN_DEQUEUED_MAX_RETRIES, text)
            return _failure(run.id, run.snapshot, RunStatus.SYSTEM_FAILURE, given_up, 0, now)
        return _uncharged_later(run, error, tries, now)

    def _never_started(self, run: Run, now: datetime, reason: str | None) -> Move:
        if run.dequeues < MAX_DEQUEUES:
            return requeue(run, now, description=reason)
        last = f"; the last time {reason}" if reason else ""
        error = internal_error(
            ErrorCode.TASK_RUN_DEQUEUED_MAX_RETRIES, f"no executor took it up in {run.dequeues} placements{last}"
        )
        return _failure(run.id, run.snapshot, RunStatus.SYSTEM_FAILURE, error, 0, now)

    def _options(self, run: Run) -> RetryOptions:
        if run.version_id is None or run.hook_of is not None:
            return RetryOptions.from_manifest(None)  # a hook is tried again as hooks are, not as its task is
        task = self._versions.task(run.version_id, run.task)
        return RetryOptions.from_manifest(task.retry if task else None)


#: Placements without a start, or without room, before a run is given up; the pause after the first of the latter, doubled.
MAX_DEQUEUES = 12
#: Thaws of one image that fail before it is given up.
MAX_THAWS = 3
_PAUSE, _LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=60)


def _ended_so_before(history: Sequence[Snapshot], code: ErrorCode) -> int:
    """How many attempts before this one ended with that code, one after the other."""
    ends = (row for row in reversed(history) if row.event in _ENDS)
    return sum(1 for _ in takewhile(lambda row: (row.error or {}).get("code") == code, ends))


def _uncharged_later(run: Run, error: Mapping[str, Any], tries: int, now: datetime) -> Move:
    """An attempt that no code of the user's has seen is made again, after a pause that grows with the tries."""
    at = now + min(_PAUSE * 2 ** min(tries - 1, _DOUBLED), _LONGEST_PAUSE)
    changes = {
        "available_at": at,
        "queued_at": at,
        "lease_until": None,
        "max_attempts": min(run.max_attempts + 1, MAX_ATTEMPTS),
    }
    return Move(run.id, run.snapshot, Event.RETRY_LATER, now, changes=changes, error=error)


#: An attempt is under way in a process.
_RUNNING = lifecycle.BLOCKED | {SnapshotStatus.EXECUTING}


def _thaws_before(history: Sequence[Snapshot], *codes: ErrorCode) -> int:
    """How often a run was dequeued with its newest image and not thawed, for these reasons."""
    since = takewhile(lambda row: row.event != Event.SUSPEND, reversed(history))
    counted = codes or _OF_IMAGES
    return sum(1 for row in since if row.event == Event.REQUEUE and (row.error or {}).get("code") in counted)


#: An attempt whose payload could not be read ends with this.
_UNREAD = ErrorCode.TASK_EXECUTION_FAILED
#: Doublings after which a pause is at its longest anyway.
_DOUBLED = 10
#: An executor whose node is not of the type that a frozen run needs hands it back with this.
_OTHER_NODE = ErrorCode.COULD_NOT_FIND_EXECUTOR
#: What a failed thaw is told with, if that says something about the image.
_OF_IMAGES = (ErrorCode.CHECKPOINT_INVALID, ErrorCode.THAW_FAILED)
#: How an attempt that is not the last may end.
_ENDS = (Event.RETRY_LATER, Event.RETRY_NOW, Event.HAND_BACK)


def _begun(run: Run) -> SnapshotStatus:
    """Where a retry begins: an attempt that never began is none."""
    status = SnapshotStatus(run.snapshot_status)
    return SnapshotStatus.EXECUTING if status is SnapshotStatus.PENDING_EXECUTING else status


def _answer(event: Event, moved: Moved, lease_until: Any, lease: timedelta) -> Settled:
    if event is Event.RETRY_NOW:
        return Settled(Completion.RETRY_IMMEDIATELY, moved, moved.snapshot, lease_until - lease)
    if event in (Event.RETRY_LATER, Event.HAND_BACK, Event.REQUEUE):
        return Settled(Completion.RETRY_QUEUED, moved)
    return Settled(Completion.RUN_FINISHED, moved)


def _success(run_id: str, snapshot: int, outcome: Outcome, now: datetime) -> Move:
    changes = {
        "output": outcome.output,
        "output_type": outcome.output_type,
        "error": None,
        "finished_at": now,
        "lease_until": None,
    }
    return Move(run_id, snapshot, Event.SUCCEED, now, changes=changes, usage_ms=outcome.usage_ms)


def _failure(run_id: str, snapshot: int, status: RunStatus, error: Mapping[str, Any], usage_ms: int, now: datetime) -> Move:
    # A run that failed gives its idempotency key back, so that the next trigger tries again.
    changes = {"error": error, "finished_at": now, "lease_until": None, "idempotency_key": None}
    return Move(run_id, snapshot, Event.FAIL, now, shows=status, changes=changes, usage_ms=usage_ms, error=error)


def _acknowledged(run_id: str, snapshot: int, usage_ms: int, now: datetime) -> Move:
    changes = {"finished_at": now, "lease_until": None}
    return Move(run_id, snapshot, Event.CANCEL_ACKNOWLEDGED, now, changes=changes, usage_ms=usage_ms)


def _unusable(output: str | None) -> dict[str, str] | None:
    """Why a run cannot end with this output; None if it can. User code wrote it, so nothing is taken for granted."""
    if output is None:
        return None
    if len(output) > ESCAPED * MAX_OUTPUT_BYTES:
        return _too_large()
    try:
        output.encode("utf-8")
        json.loads(output, parse_constant=_refuse)
        if exceeds(output, MAX_OUTPUT_BYTES):
            return _too_large()
    except (ValueError, RecursionError) as error:
        return internal_error(ErrorCode.TASK_OUTPUT_ERROR, f"the output is not JSON: {str(error)[:200]}")
    return None


def _too_large() -> dict[str, str]:
    return internal_error(ErrorCode.TASK_OUTPUT_ERROR, f"the output is larger than {MAX_OUTPUT_BYTES} bytes")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def stalled_error(seconds: float, node: str = "", *, waited: bool = False) -> dict[str, str]:
    """The error of an attempt whose executor stopped beating; `node` is where that was, if it is known.

    `waited`: while the attempt only waited.
    """
    where = f" on {node}" if node else ""
    text = f"its executor{where} has not been heard of for {seconds:g} s"
    code = ErrorCode.TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS if waited else ErrorCode.TASK_RUN_STALLED_EXECUTING
    return internal_error(code, text)


def out_of_memory_error(reason: str) -> dict[str, str]:
    """The error of an attempt whose executor the kernel ended for its memory."""
    return internal_error(ErrorCode.TASK_PROCESS_OOM_KILLED, reason)


def executor_gone_error(reason: str) -> dict[str, str]:
    """The error of an attempt whose executor is known to have ended."""
    return internal_error(ErrorCode.TASK_RUN_CRASHED, f"its executor is gone: {reason}")
