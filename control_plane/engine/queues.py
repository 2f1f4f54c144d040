"""Queues as people see and steer them: how full they are, paused, with other limits than code declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.rates import Rate
from sojourn.control_plane.engine.errors import EngineError, LimitTooHigh, NotOverridden, QueueNotFound, TooManyKeyLimits
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.limits import Limiting
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.queue.loads import Load, Loads
from sojourn.control_plane.store.queues import Queues as StoredQueues
from sojourn.control_plane.store.records import Environment, Queue, QueueKey

#: Keys of a queue that may have a limit or a rate of their own: each change of a limit tells the fair queue all of them.
MAX_KEYS = 1_000


@dataclass(frozen=True, slots=True)
class QueueRef:
    """How a caller names a queue: by its id, or by its name in the store."""

    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue and the runs in it. `keys`: those with a limit or a rate of their own; none in a list of queues."""

    queue: Queue
    load: Load
    keys: Sequence[QueueKey] = ()


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
        queue = self._find(environment, ref)
        return replace(self._states(environment, [queue])[0], keys=self._queues.keys(queue.id))

    def pause(self, environment: Environment, ref: QueueRef, paused: bool, now: datetime) -> QueueState:
        """Pauses a queue or lets it go on; runs that hold slots go on either way. `QueueNotFound`."""
        self._queues.pause(self._find(environment, ref).id, paused)
        return self._changed(environment, ref, now)

    def override(
        self,
        environment: Environment,
        ref: QueueRef,
        limit: int | None,
        percent: float | None,
        now: datetime,
        *,
        key: str | None = None,
    ) -> QueueState:
        """Another limit, a number or a part of the environment's, for each key or for one.

        `QueueNotFound`, `LimitTooHigh`, `TooManyKeyLimits`.
        """
        queue = self._find(environment, ref)
        if limit is not None and limit > queue.environment_limit:
            raise LimitTooHigh(f"the environment's limit is {queue.environment_limit}", field="concurrencyLimit")
        if key is None:
            self._queues.override(queue.id, limit, percent, now)
        elif not self._queues.override_key(queue.id, key, limit, percent, now, most=MAX_KEYS):
            raise _too_many_keys()
        return self._changed(environment, ref, now)

    def reset(self, environment: Environment, ref: QueueRef, now: datetime, *, key: str | None = None) -> QueueState:
        """The declared limit holds again, or for a key that of its queue. `QueueNotFound`, `NotOverridden`."""
        queue = self._find(environment, ref)
        if not (self._queues.reset(queue.id) if key is None else self._queues.reset_key(queue.id, key)):
            raise NotOverridden
        return self._changed(environment, ref, now)

    def set_rate(
        self,
        environment: Environment,
        ref: QueueRef,
        rate: Rate | None,
        now: datetime,
        *,
        per_key: bool = False,
        key: str | None = None,
    ) -> QueueState:
        """How many runs of the queue, of each key, or of one, may start; None: as code declares it, or each key has it.

        `QueueNotFound`, `TooManyKeyLimits`.
        """
        queue = self._find(environment, ref)
        stored = None if rate is None else rate.stored()
        if key is None:
            self._queues.set_rate(queue.id, stored, per_key=per_key)
        elif stored is None:
            self._queues.reset_key_rate(queue.id, key)
        elif not self._queues.set_key_rate(queue.id, key, stored, most=MAX_KEYS):
            raise _too_many_keys()
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


def _too_many_keys() -> TooManyKeyLimits:
    return TooManyKeyLimits(f"{MAX_KEYS} keys of the queue have a limit or a rate of their own", field="concurrencyKey")
