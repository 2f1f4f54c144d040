"""A trigger becomes a run: stored, then queued. Whoever has the answer has a run that no fault can lose."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane import faults
from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.debounce import Debounce
from sojourn.control_plane.domain.regions import Regions
from sojourn.control_plane.engine.combining import Combiner
from sojourn.control_plane.engine.debouncing import Debouncing, NotStored
from sojourn.control_plane.engine.errors import EngineError, ParentIsOver, QueueFull, RegionUnknown, VersionNotFound
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.packets import Packets, Text, is_large
from sojourn.control_plane.engine.room import Room
from sojourn.control_plane.store.database import Row
from sojourn.control_plane.store.queues import Queues
from sojourn.control_plane.store.records import Environment, Moved, build
from sojourn.control_plane.store.runs import Runs
from sojourn.sdk.protocol import SnapshotStatus

DEFAULT_IDEMPOTENCY_SECONDS = 30 * 24 * 3600
#: How long a request that is sent again counts once.
REQUEST_LIFE = timedelta(days=1)
#: Names of queues that a process keeps in mind.
_NAMED_AT_MOST = 100_000
_RELEASED_AT_ONCE = 200
#: A key may be freed and taken again by others, while this looks whom it leads to.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """What a caller asks for; None means "as the task has it". `payload` and `metadata` are JSON texts.

    `keeps_request_key`: it stands for the run as long as that is there, not for a day.
    """

    task: str
    payload: str | None = None
    payload_type: str = "application/json"
    queue: str | None = None
    concurrency_key: str | None = None
    delay_until: datetime | None = None
    ttl_seconds: int | None = None
    priority_ms: int = 0
    idempotency_key: str | None = None
    idempotency_ttl_seconds: int = DEFAULT_IDEMPOTENCY_SECONDS
    idempotency_options: dict[str, Any] | None = None
    request_key: str | None = None
    keeps_request_key: bool = False
    tags: Sequence[str] = ()
    metadata: str | None = None
    machine: str | None = None
    region: str | None = None
    max_attempts: int | None = None
    max_duration: int | None = None
    version: str | None = None
    is_test: bool = False
    parent_run_id: str | None = None
    source: str = "api"
    replay_of: str | None = None
    schedule_id: str | None = None
    scheduled_at: datetime | None = None
    external_deployment_id: str | None = None
    debounce: Debounce | None = None


@dataclass(frozen=True, slots=True)
class Triggered:
    """The run's id; `cached` when an idempotency key, or a debounce key, led to a run that was there before."""

    id: str
    cached: bool


class Triggering:
    """Concurrent triggers of one process share a statement and a pipeline."""

    def __init__(
        self,
        runs: Runs,
        queues: Queues,
        index: Index,
        debouncing: Debouncing,
        packets: Packets,
        *,
        room: Room,
        regions: Regions | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._runs = runs
        self._queues = queues
        self._index = index
        self._debouncing = debouncing
        self._packets = packets
        self.room = room
        self._regions = regions or Regions()
        self._random = random
        self._combiner: Combiner[dict[str, Any], Row | None] = Combiner(self._store)
        self._named: set[tuple[str, str]] = set()

    def trigger(self, environment: Environment, request: TriggerRequest, now: datetime) -> Triggered:
        """Stores and queues a run, or finds the one that the request's keys already stand for, though the queue is full.

        `QueueFull` where there is none, and no room for one.
        """
        full = self.room.why_full(environment.organization_id)
        document = self.document(environment, request, now)
        if full is None and not is_large(request.payload):
            return self._make(environment, request, document, now)
        # What is answered with a run that is there needs no room and no packet.
        known = self._held(environment, request, now) or self._debounced(request, document, now)
        if known is not None:
            return known
        if full is not None and request.debounce is None:
            raise full
        return self._make_large(environment, request, document, now, full)

    def _make_large(
        self,
        environment: Environment,
        request: TriggerRequest,
        document: dict[str, Any],
        now: datetime,
        full: QueueFull | None,
    ) -> Triggered:
        """A payload that may have to lie beside its run is put there first, and is of no use if there is no such run."""
        placed = self.with_packet(environment, request, now)
        document |= {"payload": placed.payload, "payload_type": placed.payload_type}
        made = None
        try:
            made = self._make(environment, placed, document, now, full)
            return made
        finally:
            if placed is not request and (made is None or made.id != document["id"]):
                self._packets.lost(document["payload"])

    def _make(
        self,
        environment: Environment,
        request: TriggerRequest,
        document: dict[str, Any],
        now: datetime,
        full: QueueFull | None = None,
    ) -> Triggered:
        """`full`: why no run may be made, if none may: then one that a debounce key leads to is found still."""
        if request.debounce is not None:
            return self._trigger_debounced(environment, request, request.debounce, document, now, full)
        if self._combiner.submit(document) is not None:
            return Triggered(document["id"], cached=False)
        return self._known(environment, request, document, now)

    def _debounced(self, request: TriggerRequest, document: dict[str, Any], now: datetime) -> Triggered | None:
        known = self._debouncing.covered(request.debounce, document, now) if request.debounce is not None else None
        return None if known is None else Triggered(known, cached=True)

    def with_packet(self, environment: Environment, request: TriggerRequest, now: datetime) -> TriggerRequest:
        """A request whose payload may lie beside a run: a large one is in the object store then. `PacketsUnavailable`."""
        if request.payload is None:
            return request
        packet = self._packets.kept(environment.id, Text(request.payload, request.payload_type), now)
        if packet.text is request.payload:
            return request
        return replace(request, payload=packet.text, payload_type=packet.media_type)

    def _trigger_debounced(
        self,
        environment: Environment,
        request: TriggerRequest,
        wish: Debounce,
        document: dict[str, Any],
        now: datetime,
        full: QueueFull | None,
    ) -> Triggered:
        for _ in range(_TRIES):
            known = self._held(environment, request, now)
            if known is not None:
                return known
            if request.queue is not None and full is None:
                self.add_queues({(environment.id, request.queue)}, now)
            try:
                made = self._debouncing.trigger(wish, document, now, full)
            except NotStored:
                if not _has_key(request):
                    break
                continue
            faults.point("trigger.after_store")
            if made.stored is not None:
                self.queue([made.stored], now)
            return Triggered(made.run, cached=made.stored is None)
        raise self._refusal(environment, request)

    def queue(self, stored: Collection[Row], now: datetime) -> None:
        """Queues runs that were stored just now; whoever waits for their dates is told."""
        queued = [build(Moved, row) for row in stored if row["snapshot_status"] == SnapshotStatus.QUEUED]
        self._index.enqueue(queued, now)
        if any(row["snapshot_status"] == SnapshotStatus.DELAYED for row in stored):
            self._index.ring("stager")
        waiting = [str(row["id"]) for row in stored if row["snapshot_status"] == SnapshotStatus.RUN_CREATED]
        for environment in sorted(self._runs.releasable(waiting)) if waiting else ():
            self._release(environment, now)

    def _release(self, environment_id: str, now: datetime) -> None:
        """What a run waits for may have been deployed while it was stored, and was looked for by neither side."""
        while moved := self._runs.release_versioned(environment_id, now, _RELEASED_AT_ONCE):
            self._index.settled(moved, now)
            if len(moved) < _RELEASED_AT_ONCE:
                return

    def _store(self, documents: Sequence[dict[str, Any]]) -> list[Row | None]:
        places = {(each["environment"], each["queue"]) for each in documents if each["queue"] is not None}
        self.add_queues(places, documents[0]["at"])
        stored = self._runs.insert(documents)
        faults.point("trigger.after_store")
        self.queue(stored.values(), documents[0]["at"])
        return [stored.get(document["id"]) for document in documents]

    def add_queues(self, places: Set[tuple[str, str]], now: datetime) -> None:
        """Queues (environment, name) that no code declares are there once a run names them.

        A process looks for each of them once, so that it must not be undone: not within a transaction.
        """
        unknown = places - self._named
        if not unknown:
            return
        self._queues.add(
            [{"id": self._id("queue", now), "environment_id": where, "name": name} for where, name in sorted(unknown)]
        )
        if len(self._named) >= _NAMED_AT_MOST:
            self._named.clear()
        self._named |= unknown

    def _known(
        self, environment: Environment, request: TriggerRequest, document: dict[str, Any], now: datetime
    ) -> Triggered:
        """Nothing was stored: the keys say why, or the version does not exist."""
        stored = self._runs.find(environment.id, document["id"])
        if stored:  # but the answer was lost on the way, so that nobody has queued it
            self._index.follow_up([stored], now)
            return Triggered(document["id"], cached=False)
        for _ in range(_TRIES):
            known = self._held(environment, request, now)
            if known is not None:
                return known
            if not _has_key(request):
                break
            # One whose time was over is free now, or somebody has freed it; and may be taken again before this is stored.
            if self._combiner.submit(document) is not None:
                return Triggered(document["id"], cached=False)
        raise self._refusal(environment, request)

    def _held(self, environment: Environment, request: TriggerRequest, now: datetime) -> Triggered | None:
        """The run that the request's keys stand for. A key whose time is over is free then."""
        if request.request_key:
            if not request.keeps_request_key:
                self._runs.forget_request(environment.id, request.request_key, now - REQUEST_LIFE)
            made = self._runs.by_request(environment.id, request.request_key)
            if made:
                return Triggered(made, cached=False)
        if request.idempotency_key:
            holder = self._runs.by_idempotency_key(environment.id, request.task, request.idempotency_key)
            expired = holder and holder.idempotency_expires_at and holder.idempotency_expires_at <= now
            if holder and not expired:
                return Triggered(holder.id, cached=True)
            self._runs.forget_idempotency_key(environment.id, request.task, request.idempotency_key, now)
        return None

    def _refusal(self, environment: Environment, request: TriggerRequest) -> EngineError:
        """Why a run could not be stored, if no key stands for one."""
        parent = self._runs.find(environment.id, request.parent_run_id) if request.parent_run_id else None
        if parent and parent.snapshot_status in (SnapshotStatus.FINISHED, SnapshotStatus.PENDING_CANCEL):
            return ParentIsOver(
                f"the run {parent.id}, which is to be the parent, has ended: {parent.status}",
                field="options.parentRunId",
                next_step="trigger it without a parent",
            )
        if request.version:
            return VersionNotFound(
                f"version {request.version} was never deployed to {environment.slug}, or has no task {request.task}",
                field="options.lockToVersion",
                next_step="deploy it, or leave the option out to use the current version",
            )
        if request.external_deployment_id:
            return VersionNotFound(
                f"what was deployed as {request.external_deployment_id[:80]!r} has no task {request.task}",
                field="options.externalDeploymentId",
                next_step="deploy the task under that name, or leave the option out to use the current version",
            )
        return EngineError("the run could not be stored: try again")

    def _region(self, environment: Environment, request: TriggerRequest) -> str:
        if request.region is None:
            return self._regions.of_environment(environment.id, environment.slug)
        if request.region not in self._regions.names:
            there = ", ".join(self._regions.names)
            raise RegionUnknown(
                f"there is no region {request.region[:80]!r}: there are {there}",
                field="options.region",
                next_step="use one that is there, or name it in SOJOURN_REGIONS, which placement on Nomad knows alone",
            )
        return request.region

    def document(self, environment: Environment, request: TriggerRequest, now: datetime) -> dict[str, Any]:
        """The run as `trigger_runs.sql` takes it. `RegionUnknown`."""
        key_until = now + timedelta(seconds=request.idempotency_ttl_seconds) if request.idempotency_key else None
        return {
            "id": self._id("run", now),
            "environment": environment.id,
            "task": request.task,
            "payload": request.payload,
            "payload_type": request.payload_type,
            "queue": request.queue,
            "concurrency_key": request.concurrency_key,
            "machine": request.machine,
            "region": self._region(environment, request),
            "priority_ms": request.priority_ms,
            "version": request.version,
            "max_attempts": request.max_attempts,
            "max_duration": request.max_duration,
            "ttl_seconds": request.ttl_seconds,
            "tags": sorted(set(request.tags)),
            "metadata": request.metadata,
            "idempotency_key": request.idempotency_key,
            "idempotency_expires_at": key_until,
            "idempotency_options": request.idempotency_options,
            "request_key": request.request_key,
            "parent": request.parent_run_id,
            "source": request.source,
            "is_test": request.is_test,
            "replay_of": request.replay_of,
            "at": now,
            "delay_until": request.delay_until,
            "schedule": request.schedule_id,
            "scheduled_at": request.scheduled_at,
            "external": request.external_deployment_id,
        }

    def _id(self, prefix: str, now: datetime) -> str:
        return ids.make(prefix, now, self._random(ids.RANDOM_BYTES))


def _has_key(request: TriggerRequest) -> bool:
    """Whether a key may be why nothing was stored: others free keys, and take them, meanwhile."""
    return bool(request.request_key or request.idempotency_key)
