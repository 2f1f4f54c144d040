"""Batches: many runs asked for together. Made with their count, filled item by item, closed when their runs are over.

Every item is there once, however often it is sent, and the last one seals the batch. What a client leaves unfinished is
given up after a while; the runs that it has by then are runs like any.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane import faults
from sojourn.control_plane.domain import ids
from sojourn.control_plane.engine.batch_items import BatchItems, Flaw, Item
from sojourn.control_plane.engine.batch_rate import BatchRate
from sojourn.control_plane.engine.errors import (
    BatchDiffers,
    BatchItemInvalid,
    BatchNotFound,
    BatchOver,
    EngineError,
    ParentIsOver,
)
from sojourn.control_plane.engine.packets import is_large
from sojourn.control_plane.engine.triggering import DEFAULT_IDEMPOTENCY_SECONDS, REQUEST_LIFE, Triggering, TriggerRequest
from sojourn.control_plane.store.batches import Batches as StoredBatches
from sojourn.control_plane.store.batches import BatchItem, Flawed, NamedItem
from sojourn.control_plane.store.database import Deadlock, Row, Unstorable
from sojourn.control_plane.store.records import Batch, Environment, Run
from sojourn.control_plane.store.runs import Runs
from sojourn.sdk.protocol import ErrorCode, SnapshotStatus

PREFIX = "batch"
#: A key may be released and taken again by others meanwhile; two batches with the same keys may wait for each other.
_TRIES = 5
#: Items whose errors are told of a batch.
MAX_ERRORS = 1_000
_OPEN = ("PROCESSING", "PARTIAL_FAILED")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """`request_key`: under which a client asks once, however often it has to send that."""

    run_count: int
    parent_run_id: str | None = None
    idempotency_key: str | None = None
    idempotency_ttl_seconds: int = DEFAULT_IDEMPOTENCY_SECONDS
    idempotency_options: dict[str, Any] | None = None
    request_key: str | None = None


@dataclass(frozen=True, slots=True)
class MadeBatch:
    """`cached`: an idempotency key led to one that is whole already. One that is not takes its items now; `found`: the
    key led to it all the same.
    """

    batch: Batch
    cached: bool
    found: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """A batch as it stands: some of the items that are there, how many runs of all are over, and the items that are flawed.

    Of these there are MAX_ERRORS at most. `after`: the position behind which further items are, if there are any.
    """

    batch: Batch
    items: Sequence[BatchItem]
    finished: int
    flawed: Sequence[Flawed]
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """How many items are new, how many were there; and the batch as it stands after them."""

    accepted: int
    repeated: int
    batch: Batch


class Batches:
    """`patience`: how long a batch waits for its next item.

    `at_once`: portions of items that a process stores at a time, since each holds a connection to the database, also while
    it waits for another one of the same batch.
    """

    def __init__(
        self,
        batches: StoredBatches,
        items: BatchItems,
        runs: Runs,
        triggering: Triggering,
        rate: BatchRate,
        patience: timedelta,
        at_once: int = 4,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._batches = batches
        self._items = items
        self._runs = runs
        self._triggering = triggering
        self._rate = rate
        self._patience = patience
        self._turn = threading.BoundedSemaphore(at_once)
        self._random = random

    def create(self, environment: Environment, request: BatchRequest, now: datetime) -> MadeBatch:
        """A new batch without items, or the one that the request's keys stand for.

        `QueueFull`, `ParentIsOver`, `BatchDiffers`, `BatchRateReached`.
        """
        found = self._made_before(environment, request, now)
        if found is not None:
            return found
        self._triggering.room.check(environment.organization_id, request.run_count)
        self._check_parent(environment, request.parent_run_id)
        self._rate.spend(environment.id, request.run_count, now)
        batch, made = self._new(environment, request, now), None
        try:
            made = self._make(environment, request, batch, now)
            return made
        finally:
            if made is None or made.batch is not batch:
                self._rate.give_back(environment.id, request.run_count)

    def _make(self, environment: Environment, request: BatchRequest, batch: Batch, now: datetime) -> MadeBatch:
        """Stores it, unless another one has taken its keys meanwhile: then that one."""
        for _ in range(_TRIES):
            if self._batches.make(batch, request.request_key) or self._batches.find(environment.id, batch.id):
                self._triggering.room.promise(environment.organization_id, batch.run_count)
                return MadeBatch(batch, cached=False)
            found = self._made_before(environment, request, now)
            if found is not None:
                return found
        raise EngineError("the batch could not be stored: try again")

    def find(self, environment: Environment, batch_id: str, now: datetime) -> Batch:
        """A batch as it stands. `BatchNotFound`."""
        found = self._batches.find(environment.id, batch_id) if ids.is_id(batch_id, PREFIX) else None
        if found is None:
            raise BatchNotFound
        return (self._batches.complete_one(found.id, now) if found.status in _OPEN else None) or found

    def fill(self, environment: Environment, batch_id: str, items: Sequence[Item], now: datetime) -> Filled:
        """Adds the items that are not there yet: their runs are stored with them, then queued. `BatchOver`."""
        try:
            return self._fill(environment, batch_id, items, now)
        except Unstorable:
            if len(items) == 1:
                return self._fill(environment, batch_id, [_without_what_cannot_be_stored(items[0])], now)
        half = len(items) // 2
        first = self.fill(environment, batch_id, items[:half], now)
        last = self.fill(environment, batch_id, items[half:], now)
        return Filled(first.accepted + last.accepted, first.repeated + last.repeated, last.batch)

    def _fill(self, environment: Environment, batch_id: str, items: Sequence[Item], now: datetime) -> Filled:
        if any(is_large(item.request.payload) for item in items):
            there = self._batches.there(batch_id, [item.position for item in items])
            items = [item if item.position in there else self._with_packet(environment, item, now) for item in items]
        named = {item.request.queue for item in items} - {None}
        self._triggering.add_queues({(environment.id, str(name)) for name in named}, now)
        for _ in range(_TRIES):
            try:
                with self._turn:
                    filled, rows = self._store(environment, batch_id, items, now)
            except Deadlock:
                continue
            faults.point("batch.after_store")
            self._triggering.queue(rows, now)
            return filled
        raise EngineError("the items could not be stored: try again")

    def _with_packet(self, environment: Environment, item: Item, now: datetime) -> Item:
        request = self._triggering.with_packet(environment, item.request, now)
        return item if request is item.request else replace(item, request=request)

    def items(self, batch: Batch) -> list[BatchItem]:
        """What became of the items that are there, in their order."""
        return self._batches.items(batch.id, -1, batch.run_count)

    def named_items(self, batch: Batch) -> list[NamedItem]:
        """The same, each with the task and the key of its run."""
        return self._batches.named_items(batch.id)

    def standing(self, environment: Environment, batch_id: str, after: int, limit: int, now: datetime) -> Standing:
        """A batch with what became of so many of its items, from the one after that position on. `BatchNotFound`."""
        batch = self.find(environment, batch_id, now)
        items = self._batches.items(batch.id, after, limit + 1)
        live = 0 if batch.status == "COMPLETED" else self._batches.live(batch.id)
        flawed = self._batches.flawed(batch.id, MAX_ERRORS) if batch.failed else []
        more = items[limit - 1].position if 0 < limit < len(items) else None
        return Standing(batch, items[:limit], max(batch.items - live, 0), flawed, more)

    def results(self, batch: Batch, after: int) -> Iterator[tuple[int, Run]]:
        """The runs that are over, with their positions, from the item after that one on."""
        return self._batches.results(batch.id, after, batch.run_count)

    def sweep(self, now: datetime, limit: int) -> int:
        """Gives up what nobody fills, completes what is over; how many batches."""
        return self._batches.abort(now - self._patience, now, limit) + self._batches.complete(now, limit)

    def _store(
        self, environment: Environment, batch_id: str, items: Sequence[Item], now: datetime
    ) -> tuple[Filled, list[Row]]:
        with self._batches.filling(batch_id) as batch:
            if batch is None:
                raise BatchNotFound
            check_places(batch, [item.position for item in items])
            if batch.is_sealed:
                return Filled(0, len(items), batch), []
            if batch.completed_at is not None:
                raise BatchOver(next_step="make a new batch, and send its items at once")
            fresh = self._fresh(batch, items)
            made, rows = self._items.store(environment, batch, fresh, now) if fresh else ([], [])
            if made:
                batch = self._batches.add(batch_id, made, now)
            return Filled(len(fresh), len(items) - len(fresh), batch), rows

    def _fresh(self, batch: Batch, items: Sequence[Item]) -> list[Item]:
        """Those that are not there. Of items with the same position the first counts."""
        there = self._batches.there(batch.id, [item.position for item in items])
        fresh: dict[int, Item] = {}
        for item in items:
            if item.position not in there:
                fresh.setdefault(item.position, item)
        return list(fresh.values())

    def _made_before(self, environment: Environment, request: BatchRequest, now: datetime) -> MadeBatch | None:
        if request.request_key is not None:
            self._batches.forget_request(environment.id, request.request_key, now - REQUEST_LIFE)
            made = self._batches.by_request(environment.id, request.request_key)
            if made is not None:
                return MadeBatch(made, cached=False)
        if request.idempotency_key is None:
            return None
        holder = self._batches.by_idempotency_key(environment.id, request.idempotency_key)
        if holder is None:
            return None
        if holder.idempotency_expires_at is not None and holder.idempotency_expires_at <= now:
            self._batches.release_key(environment.id, request.idempotency_key, now)
            return None
        if not holder.is_sealed and holder.run_count != request.run_count:
            raise BatchDiffers(
                f"{holder.id}, which has this key, is to have {holder.run_count} items and is not whole",
                field="idempotencyKey",
                next_step="send that batch's items, or use another key",
            )
        return MadeBatch(holder, cached=holder.is_sealed, found=True)

    def _check_parent(self, environment: Environment, parent_id: str | None) -> None:
        parent = self._runs.find(environment.id, parent_id) if parent_id else None
        if parent and parent.snapshot_status in (SnapshotStatus.FINISHED, SnapshotStatus.PENDING_CANCEL):
            raise ParentIsOver(
                f"the run {parent.id}, which is to be the parent, has ended: {parent.status}",
                field="parentRunId",
                next_step="trigger it without a parent",
            )

    def _new(self, environment: Environment, request: BatchRequest, now: datetime) -> Batch:
        key, ttl = request.idempotency_key, timedelta(seconds=request.idempotency_ttl_seconds)
        return Batch(
            id=ids.make(PREFIX, now, self._random(ids.RANDOM_BYTES)),
            organization_id=environment.organization_id,
            environment_id=environment.id,
            status="PENDING",
            run_count=request.run_count,
            items=0,
            failed=0,
            parent_run_id=request.parent_run_id,
            idempotency_key=key,
            idempotency_expires_at=now + ttl if key else None,
            idempotency_options=request.idempotency_options,
            created_at=now,
            updated_at=now,
            sealed_at=None,
            completed_at=None,
        )


def check_places(batch: Batch, positions: Iterable[int]) -> None:
    """`BatchItemInvalid` for an index that the batch has no place for, whole or not: nothing of it would ever run."""
    beyond = next((position for position in positions if position >= batch.run_count), None)
    if beyond is not None:
        last = f"0 to {batch.run_count - 1}" if batch.run_count > 1 else "0 alone"
        raise BatchItemInvalid(
            f"the batch has {batch.run_count} items, so that there is no index {beyond}",
            field="index",
            next_step=f"give each line an `index` of the batch: {last}",
        )


def _without_what_cannot_be_stored(item: Item) -> Item:
    why = "it has a value that is too long to be stored, such as a key"
    return Item(item.position, TriggerRequest(item.request.task), Flaw(ErrorCode.BATCH_ITEM_COULD_NOT_TRIGGER, why))
