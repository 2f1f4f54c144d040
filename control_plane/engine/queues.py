"""Queues as people see and steer them: how full they are, paused, with other limits than code declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.rates import Rate
from sojourn.control_plane.engine.errors import EngineError, LimitTooHigh, NotOverridden, QueueNotFound
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.limits import Limiting
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.queue.loads import Load, Loads
from sojourn.control_plane.store.queues import Queues as StoredQueues
from sojourn.control_plane.store.records import Environment, Queue


@dataclass(frozen=True, slots=True)
class QueueRef:
    """How a caller names a queue: by its id, or by its name in the store."""

    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue and the runs in it."""

    queue: Queue
    load: Load


class Queues:
    """What is changed is stored first; the fair queue follows at once or, if it is away, by its rebuild."""

    def __init__(self, queues: StoredQueues, loads: Loads, limiting: Limiting, index: Index):
        self._queues = queues
        self._loads = loads
        self._limiting = limiting
        self._index = index

    def page(self, environment: Environment, skip: int, size: int) -> tuple[list[QueueState], int]:
        """Queues by their names, after so many, and how many there are in all."""
        return self._states(environment, self._queues.page(environment.id, skip, size)), self._queues.count(environment.id)

    def retrieve(self, environment: Environment, ref: QueueRef) -> QueueState:
        """A queue. `QueueNotFound`."""
        return self._states(environment, [self._find(environment, ref)])[0]

    def pause(self, environment: Environment, ref: QueueRef, paused: bool, now: datetime) -> QueueState:
        """Pauses a queue or lets it go on; runs that hold slots go on either way. `QueueNotFound`."""
        self._queues.pause(self._find(environment, ref).id, paused)
        return self._changed(environment, ref, now)

    def override(
        self, environment: Environment, ref: QueueRef, limit: int | None, percent: float | None, now: datetime
    ) -> QueueState:
        """Another limit, a number or a part of the environment's. `QueueNotFound`, `LimitTooHigh`."""
        queue = self._find(environment, ref)
        if limit is not None and limit > queue.environment_limit:
            raise LimitTooHigh(f"the environment's limit is {queue.environment_limit}", field="concurrencyLimit")
        self._queues.override(queue.id, limit, percent, now)
        return self._changed(environment, ref, now)

    def reset(self, environment: Environment, ref: QueueRef, now: datetime) -> QueueState:
        """The declared limit holds again. `QueueNotFound`, `NotOverridden`."""
        if not self._queues.reset(self._find(environment, ref).id):
            raise NotOverridden
        return self._changed(environment, ref, now)

    def set_rate(
        self, environment: Environment, ref: QueueRef, rate: Rate | None, *, per_key: bool, now: datetime
    ) -> QueueState:
        """How many runs of the queue, or of each key, may start; None: as code declares it. `QueueNotFound`."""
        stored = None if rate is None else rate.stored()
        self._queues.set_rate(self._find(environment, ref).id, stored, per_key=per_key)
        state = self._changed(environment, ref, now)
        self._index.ring("opener")
        return state

    def _find(self, environment: Environment, ref: QueueRef) -> Queue:
        if ref.id is not None:
            found = self._queues.find(environment.id, ref.id) if ids.is_id(ref.id, "queue") else None
        else:
            found = self._queues.named(environment.id, ref.name or "")
        if found is None:
            raise QueueNotFound
        return found

    def _changed(self, environment: Environment, ref: QueueRef, now: datetime) -> QueueState:
        self._limiting.push(environment.organization_id, now)
        return self.retrieve(environment, ref)

    def _states(self, environment: Environment, queues: Sequence[Queue]) -> list[QueueState]:
        try:
            loads = self._loads.of_queues(
                environment.organization_id, [(each.environment_id, each.name) for each in queues]
            )
        except NotReady:
            self._index.ring("sweeper")
            raise EngineError("the queue is being rebuilt: what runs and waits is not known yet") from None
        return [QueueState(queue, load) for queue, load in zip(queues, loads, strict=True)]
