"""A blocked run's process on its way out of memory and back: an image with a key of its own, SUSPEND, thaw, CONTINUE.

An image is a way to need no memory, never a way to lose a run: until SUSPEND is stored the process is there, and what
cannot be stored, or comes too late, leaves the run waiting in memory. CONTINUE names the snapshot of one DEQUEUE, so
that of two processes that were restored from one image only one ever goes on.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane import faults
from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.domain.waiting_terms import WaitingTerms
from sojourn.control_plane.engine.assigning import Assigning
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.errors import CheckpointNotFound, FreezingOff, ImagesUnavailable, Stale
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.waiting import Done, Waiting, standing
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.checkpoints import Checkpoints, name_of
from sojourn.control_plane.store.objects import ObjectMissing, Objects, ObjectsUnavailable, Opened
from sojourn.control_plane.store.records import Checkpoint, Moved, Run
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.control_plane.store.seal import SealBroken
from sojourn.control_plane.store.versions import Versions
from sojourn.sdk.protocol import SnapshotStatus

log = logging.getLogger(__name__)

#: Seconds between looks, while an image arrives, at whether it is wanted still.
_LOOK = 2.0
#: A checkpoint that was begun longer ago is not begun again: an older image may still be on its way into its place.
_REPEATED = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Begun:
    """`key`: 32 bytes in base 64; `context`: the associated data of the image's encryption."""

    checkpoint: str
    key: str
    context: str


@dataclass(frozen=True, slots=True)
class Suspension:
    """What an executor tells of an image that it has stored, to give its run's process up. Sizes in bytes, times in ms."""

    run: str
    snapshot: int
    token: str
    checkpoint: str
    node_type: str
    sealed_bytes: int
    image_bytes: int
    freeze_ms: int
    store_ms: int


@dataclass(frozen=True, slots=True)
class Continued:
    """A run that goes on: its assignment at the new snapshot, and those of its waits that are over."""

    assignment: dict[str, Any]
    done: Sequence[Done]


class Freezing:
    """The worker API's use cases around checkpoints.

    `seconds`: how long storing an image may take.
    """

    def __init__(
        self,
        *,
        runs: Runs,
        access: Access,
        versions: Versions,
        checkpoints: Checkpoints,
        objects: Objects,
        credentials: Credentials,
        assigning: Assigning,
        index: Index,
        terms: WaitingTerms,
        lease: timedelta,
        seconds: float,
        waiting: Waiting,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._runs = runs
        self._access = access
        self._versions = versions
        self._checkpoints = checkpoints
        self._objects = objects
        self._credentials = credentials
        self._assigning = assigning
        self._index = index
        self._terms = terms
        self._lease = lease
        self._seconds = seconds
        self._waiting = waiting
        self._random = random

    # --- out of memory

    def begin(
        self, executor: ExecutorIdentity, run_id: str, snapshot: int, token: str, node_type: str, now: datetime
    ) -> Begun:
        """A checkpoint to store an image for. `Stale` if the run does not stand there; `FreezingOff`."""
        self._credentials.check_run(token, run_id, executor.executor)
        run = self._runs.find(executor.environment, run_id)
        if run is None or not _is_there(run, snapshot, executor.executor):
            raise Stale
        refusal = self._refusal(run, now)
        if refusal is not None:
            self._runs.waits_alive(run_id, snapshot, refusal)
            raise FreezingOff(refusal)
        row = self._checkpoints.begun(run_id, snapshot, executor.executor, node_type)
        if row is None or now - row.created_at > _REPEATED:
            row = self._checkpoints.begin(self._new(run, executor.executor, node_type, now))
        return Begun(row.id, self._checkpoints.key(row), row.context)

    def upload(
        self,
        executor: ExecutorIdentity,
        checkpoint_id: str,
        token: str,
        chunks: Iterable[bytes],
        clock: Callable[[], datetime],
    ) -> int:
        """Stores an image while it arrives; its bytes. `Stale` as soon as it is not wanted; `ImagesUnavailable`."""
        row = self._own(executor, checkpoint_id, token)
        if row.status not in ("BEGUN", "STORED") or not self._is_wanted(row):
            raise Stale
        try:
            size = self._objects.put(name_of(row), self._while_wanted(row, chunks))
        except ObjectsUnavailable as error:
            raise self._unavailable(row, str(error)) from error
        faults.point("freezing.after_upload")
        if not self._checkpoints.stored(row.id, size, clock()):
            known = self._checkpoints.find(row.environment_id, row.id)
            if known is None or known.status == "GONE":  # else the run is suspended with it: this one came twice
                self._drop(row)
            raise Stale
        return size

    def suspend(self, executor: ExecutorIdentity, told: Suspension, now: datetime) -> None:
        """The run gives up its process; told again, the same. `Stale`: it does not, its process is to go on."""
        row = self._own(executor, told.checkpoint, told.token)
        if (row.run_id, row.snapshot) != (told.run, told.snapshot):
            raise Stale
        if row.recorded_at is not None:
            return
        if (row.status, row.node_type, row.stored_bytes) != ("STORED", told.node_type, told.sealed_bytes):
            raise Stale("the image that is stored is not the one that was told of")
        run = self._runs.find(executor.environment, row.run_id)
        works = run is not None and run.snapshot_status == SnapshotStatus.EXECUTING
        if run is not None and works and run.snapshot == row.snapshot:
            self._index.release(run, now)  # before it is stored, as with a run that is blocked
        moved = self._checkpoints.suspend(
            row.id,
            _suspension(row, now, works=works),
            image_bytes=told.image_bytes,
            freeze_ms=told.freeze_ms,
            store_ms=told.store_ms,
        )
        faults.point("freezing.after_suspend")
        if moved is None:
            # The same call may have come twice at once, over two connections.
            known = self._checkpoints.find(executor.environment, row.id)
            if known is None or known.recorded_at is None:
                stands = self._runs.find(executor.environment, row.run_id)
                if works and stands is not None:
                    self._index.regain(stands, now)
                raise Stale
            return
        if works:
            self._waiting.keep_out([standing(moved)], now)
        self._index.announce(moved)  # the queue does not know it since it was blocked
        self._look_again(moved, now)

    # --- and back

    def thaw(self, run: Run) -> dict[str, Any] | None:
        """What an executor needs to thaw a run that it was given; None: nobody can, its key is gone."""
        row = self._checkpoints.find(run.environment_id, run.checkpoint_id) if run.checkpoint_id else None
        if row is None or row.key_sealed is None:
            return None
        try:
            key = self._checkpoints.key(row)
        except SealBroken:
            return None
        return {
            "checkpoint": row.id,
            "key": key,
            "context": row.context,
            "nodeType": row.node_type,
            "sealedBytes": row.stored_bytes,
        }

    def image(self, executor: ExecutorIdentity, checkpoint_id: str, run_id: str, token: str) -> Opened:
        """The image of a run that the executor is about to thaw. `CheckpointNotFound` for every other."""
        self._credentials.check_run(token, run_id, executor.executor)
        run = self._runs.find(executor.environment, run_id)
        if run is None or run.checkpoint_id != checkpoint_id or not _is_thawing(run, executor.executor):
            raise CheckpointNotFound
        row = self._checkpoints.find(executor.environment, checkpoint_id)
        if row is None:
            raise CheckpointNotFound
        try:
            return self._objects.open(name_of(row))
        except ObjectMissing:
            raise CheckpointNotFound("the image is not in the object store any more") from None
        except ObjectsUnavailable as error:
            log.warning("the image of %s cannot be read: %s", run_id, error)
            raise ImagesUnavailable(str(error)) from error

    def thawed(
        self, executor: ExecutorIdentity, run_id: str, snapshot: int, token: str, thaw_ms: int, now: datetime
    ) -> Continued:
        """The restored process, stopped still, may go on; `Stale`: it is to be killed. Asked again, the same answer."""
        self._credentials.check_run(token, run_id, executor.executor)
        run = self._runs.find(executor.environment, run_id)
        if run is None or run.executor_id != executor.executor:
            raise Stale
        if run.snapshot == snapshot and _is_thawing(run, executor.executor):
            self._continue(run, thaw_ms, now)
            run = self._runs.find(executor.environment, run_id)
        if run is None or not self._went_on(run, snapshot, executor.executor):
            raise Stale
        # What it waited for when it was frozen stands there until it is blocked again.
        return Continued(
            self._assigning.assignment(run, now, goes_on=True), self._waiting.done(run.id, run.wait_keys or ())
        )

    # ---

    def _refusal(self, run: Run, now: datetime) -> str | None:
        task = self._versions.task(run.version_id, run.task) if run.version_id else None
        environment = self._access.environment(run.environment_id, now)
        terms = self._terms.within(environment.id, environment.slug) if environment else self._terms
        return terms.refusal(task.may_freeze if task else None)

    def _new(self, run: Run, executor: str, node_type: str, now: datetime) -> Checkpoint:
        assert run.version_id
        version = self._versions.find(run.version_id)
        assert version
        checkpoint_id = ids.make("checkpoint", now, self._random(ids.RANDOM_BYTES))
        context = {
            "environment": run.environment_id,
            "run": run.id,
            "attempt": run.attempt,
            "snapshot": run.snapshot,
            "checkpoint": checkpoint_id,
            "version": version.content_hash,
            "nodeType": node_type,
        }
        return Checkpoint(
            id=checkpoint_id,
            run_id=run.id,
            organization_id=run.organization_id,
            environment_id=run.environment_id,
            executor_id=executor,
            attempt=run.attempt,
            snapshot=run.snapshot,
            status="BEGUN",
            node_type=node_type,
            context=json.dumps(context, separators=(",", ":")),
            created_at=now,
            **dict.fromkeys(_LATER),
        )

    def _own(self, executor: ExecutorIdentity, checkpoint_id: str, token: str) -> Checkpoint:
        """A checkpoint that this executor began; to every other it does not exist."""
        row = self._checkpoints.find(executor.environment, checkpoint_id)
        if row is None or row.executor_id != executor.executor:
            raise CheckpointNotFound
        self._credentials.check_run(token, row.run_id, executor.executor)
        return row

    def _is_wanted(self, row: Checkpoint) -> bool:
        run = self._runs.find(row.environment_id, row.run_id)
        return run is not None and _is_there(run, row.snapshot, row.executor_id)

    def _while_wanted(self, row: Checkpoint, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, until the run's wait is over: its process is stopped meanwhile, and a slow store must not hold it."""
        began = looked = time.monotonic()
        for chunk in chunks:
            yield chunk
            now = time.monotonic()
            if now - began > self._seconds:
                raise self._unavailable(row, f"the image was not stored within {self._seconds:g} s")
            if now - looked > _LOOK:
                looked = now
                if not self._is_wanted(row):
                    raise Stale

    def _unavailable(self, row: Checkpoint, reason: str) -> ImagesUnavailable:
        log.warning("the image of %s is not stored: %s", row.run_id, reason)
        self._runs.waits_alive(row.run_id, row.snapshot, reason)
        return ImagesUnavailable(reason)

    def _drop(self, row: Checkpoint) -> None:
        """An image that came too late. What cannot be removed now is found by the sweep."""
        try:
            self._objects.delete(name_of(row))
        except ObjectsUnavailable as error:
            log.warning("the image of %s is left to the sweep: %s", row.run_id, error)

    def _look_again(self, moved: Moved, now: datetime) -> None:
        """The wait may have ended while its process was being frozen. What is missed here is found by the sweep."""
        try:
            self._waiting.go_on([moved.id], now)
        except Exception:
            log.exception("%s is suspended; whether its wait is over is left to the sweep", moved.id)

    def _continue(self, run: Run, thaw_ms: int, now: datetime) -> None:
        assert run.checkpoint_id
        row = self._checkpoints.find(run.environment_id, run.checkpoint_id)
        frozen = (now - row.recorded_at) / timedelta(milliseconds=1) if row and row.recorded_at else 0
        changes = {
            "checkpoint_id": None,
            "frozen_on": None,
            "frozen_ms": run.frozen_ms + max(round(frozen), 0),
            "lease_until": now + self._lease,
            "dequeues": 0,
        }
        moved = self._runs.move(Move(run.id, run.snapshot, Event.CONTINUE, now, changes=changes))
        faults.point("freezing.after_continue")
        if moved is not None:
            self._checkpoints.thawed(run.checkpoint_id, thaw_ms, now)
            self._index.announce(moved)

    def _went_on(self, run: Run, snapshot: int, executor: str) -> bool:
        """Whether the run stands where CONTINUE at that snapshot has put it, by this executor."""
        if run.snapshot != snapshot + 1 or run.snapshot_status != SnapshotStatus.EXECUTING:
            return False
        last = self._runs.history(run.id, after=snapshot)[0]
        return last.event == Event.CONTINUE and last.executor_id == executor


#: The columns of a checkpoint that are not known when it is begun.
_LATER = (
    "key_sealed",
    "stored_bytes",
    "image_bytes",
    "freeze_ms",
    "store_ms",
    "thaw_ms",
    "stored_at",
    "recorded_at",
    "thawed_at",
    "gone_at",
    "removed_at",
)


def _is_there(run: Run, snapshot: int, executor: str) -> bool:
    """Whether its process is that executor's, and waits or works since that snapshot."""
    stands = (SnapshotStatus.EXECUTING_WITH_WAITPOINTS, SnapshotStatus.EXECUTING)
    return (run.snapshot, run.executor_id) == (snapshot, executor) and run.snapshot_status in stands


def _is_thawing(run: Run, executor: str) -> bool:
    stands = (run.snapshot_status, run.executor_id)
    return run.checkpoint_id is not None and stands == (SnapshotStatus.PENDING_EXECUTING, executor)


def _suspension(row: Checkpoint, now: datetime, *, works: bool) -> Move:
    """`works`: it waits for nothing, and can go on at once."""
    changes: dict[str, Any] = {"wait_need": "all", "wait_keys": []} if works else {}
    changes |= {
        "checkpoint_id": row.id,
        "frozen_on": row.node_type,
        "executor_id": None,
        "warm_start": None,
        "lease_until": None,
        "alive_reason": None,
    }
    return Move(row.run_id, row.snapshot, Event.SUSPEND, now, changes=changes)
