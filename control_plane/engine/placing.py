"""Cold starts: the next run in the fair order, claimed for an executor that is about to be placed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import redis

from sojourn.control_plane import faults
from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.keeping import Kind
from sojourn.control_plane.domain.lanes import environment_of, is_resident, lane_of
from sojourn.control_plane.domain.regions import Regions
from sojourn.control_plane.engine.claiming import Claiming, NotNow
from sojourn.control_plane.engine.credentials import Credentials, ExecutorIdentity
from sojourn.control_plane.engine.indexing import CURRENT, Index, milliseconds
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.runs import Runs, requeue
from sojourn.control_plane.store.versions import Versions

#: What was dequeued and is not to be had is passed over, in one call so often.
_TRIES = 1_000


@dataclass(frozen=True, slots=True)
class Order:
    """An executor to be placed for a run. `lane` is the one the run waited in."""

    run: Run
    identity: ExecutorIdentity
    version_hash: str
    lane: str
    credential: str


@dataclass(frozen=True, slots=True)
class Spare:
    """An executor to be placed for no run. `lane` is that of the runs it would serve first."""

    identity: ExecutorIdentity
    version_hash: str
    lane: str
    credential: str


class Placing:
    """What the dispatcher needs of the engine."""

    def __init__(
        self,
        runs: Runs,
        access: Access,
        versions: Versions,
        index: Index,
        claiming: Claiming,
        credentials: Credentials,
        regions: Regions,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._runs = runs
        self._access = access
        self._versions = versions
        self._index = index
        self._claiming = claiming
        self._credentials = credentials
        self._regions = regions
        self._random = random

    def next_order(self, now: datetime, skip_lanes: Collection[str] = ()) -> Order | None:
        """The order for the run whose turn it is; None when nothing waits that could be placed.

        `now` must be fresh: the queue's lease counts from it, and a claim after that is refused.
        """
        skipped: set[str] = set()
        for _ in range(_TRIES):
            organization = self._choose(now, skipped)
            if organization is None:
                return None
            try:
                taken = self._index.queue.dequeue(organization, milliseconds(now), skip_lanes=skip_lanes)
            except NotReady:
                self._index.ring("sweeper")
                taken = None
            if taken is None:
                skipped.add(organization)
                continue
            faults.point("scheduler.after_pop")
            executor = ids.make("executor", now, self._random(ids.RANDOM_BYTES))
            try:
                run = self._claiming.claim_for_placement(taken, executor, now)
            except NotNow:
                return None
            faults.point("scheduler.after_claim")
            if run is not None:
                return self._order(run, executor, taken.lane)
        return None

    def readmit(self, now: datetime) -> int:
        """Lets runs go on whose processes wait in memory for their slots, as far as there are any; how many."""
        readmitted = 0
        try:
            for organization in self._index.queue.due_organizations(milliseconds(now)):
                lanes = [lane for lane in self._index.queue.waiting_lanes(organization) if is_resident(lane)]
                while lanes and readmitted < _TRIES:
                    taken = self._index.queue.dequeue(organization, milliseconds(now), lanes=lanes)
                    if taken is None:
                        break
                    self._claiming.readmit(taken, now)
                    readmitted += 1
        except NotReady:
            self._index.ring("sweeper")
        except NotNow:
            pass
        return readmitted

    def current_versions(self) -> list[tuple[Environment, str, str]]:
        """Every environment that has a current version, that version's id, and the region of runs that name none."""
        environments = [each for name in self._versions.organizations() for each in self._access.environments(name)]
        current = [(each, self._versions.current(each.id)) for each in environments]
        return [
            (each, version.id, self._regions.of_environment(each.id, each.slug))
            for each, version in current
            if version is not None
        ]

    def spare(self, kind: Kind, now: datetime) -> Spare | None:
        """What places an executor ahead of its first run; None for an environment or version that is gone."""
        environment, version = self._access.environment(kind.environment, now), self._versions.find(kind.version)
        if environment is None or version is None:
            return None
        executor = ids.make("executor", now, self._random(ids.RANDOM_BYTES))
        identity = ExecutorIdentity(
            executor, environment.organization_id, environment.id, version.id, kind.machine, kind.region
        )
        lane = lane_of(environment.id, CURRENT, kind.machine, kind.region)
        return Spare(identity, version.content_hash, lane, self._credentials.for_executor(identity))

    def waiting_environments(self, now: datetime, skip_lanes: Collection[str] = ()) -> set[str]:
        """The environments with runs that could start now, over all organizations."""
        return {environment_of(lane) for lane in self.waiting_lanes(now) if lane not in skip_lanes}

    def waiting_lanes(self, now: datetime) -> set[str]:
        """The lanes with runs that could start now, over all organizations."""
        try:
            return {
                lane
                for organization in self._index.queue.due_organizations(milliseconds(now))
                for lane in self._index.queue.waiting_lanes(organization)
            }
        except (redis.RedisError, NotReady):
            return set()

    def lanes_of(self, environment: str, version: str, machine: str, region: str) -> set[str]:
        """The lanes that an executor serves: its version's, and the unpinned runs' while that is the current one."""
        current = self._versions.current(environment)
        is_current = current is not None and current.id == version
        return {lane_of(environment, each, machine, region) for each in (version, *((CURRENT,) if is_current else ()))}

    def idle_executors(self) -> set[str]:
        """Executors that wait for a run, of every organization."""
        try:
            organizations = self._versions.organizations()
            return {name for each in organizations for name in self._index.queue.idle_executors(each)}
        except redis.RedisError:
            return set()

    def forget(self, executors: Collection[str]) -> None:
        """Executors that are gone are handed no run, though their last polls may still be open."""
        for organization in self._versions.organizations() if executors else ():
            for executor in executors:
                self._index.unpark(organization, executor)

    def return_order(self, order: Order, reason: str, now: datetime) -> None:
        """No executor could be placed: the run goes back to the queue at once, with the reason in its history."""
        moved = self._runs.move(requeue(order.run, now, charged=False, description=reason))
        if moved:
            self._index.settled([moved], now)

    def _choose(self, now: datetime, skipped: Collection[str]) -> str | None:
        return self._index.queue.choose(milliseconds(now), skip=skipped)

    def _order(self, run: Run, executor: str, lane: str) -> Order:
        assert run.version_id
        version = self._versions.find(run.version_id)
        assert version
        identity = ExecutorIdentity(
            executor, run.organization_id, run.environment_id, run.version_id, run.machine, run.region
        )
        return Order(run, identity, version.content_hash, lane, self._credentials.for_executor(identity))
