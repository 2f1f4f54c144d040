"""Placement on several clusters behind one interface: a run's region says on which. None waits for another.

What one cluster lacks (it does not answer, it is full, it has no node for a lane) holds back its regions' lanes alone.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sojourn.control_plane.domain.lanes import region_of
from sojourn.scheduler.placement.base import CannotPlace, Closed, Ended, ExecutorSpec, Ground, Placed, Placement
from sojourn.scheduler.placement.closings import Closings


@dataclass(frozen=True, slots=True)
class _Cluster:
    """One of them, as a ground of its own."""

    placement: Placement
    regions: frozenset[str]

    def serves(self, lane: str) -> bool:
        return region_of(lane) in self.regions

    def free(self) -> int:
        return sum(ground.free() for ground in self.placement.grounds())

    def is_full(self) -> bool:
        return any(ground.is_full() for ground in self.placement.grounds())

    def living(self) -> list[Placed]:
        return self.placement.living()


class Clusters:
    """`placements` by the clusters' names, `cluster_of` by regions. A region that is not in it has no place."""

    def __init__(self, placements: Mapping[str, Placement], cluster_of: Mapping[str, str]):
        self._placements = dict(placements)
        self._cluster_of = dict(cluster_of)
        self._closings = Closings(time.monotonic)
        self._grounds = tuple(
            _Cluster(placement, frozenset(region for region, at in cluster_of.items() if at == name))
            for name, placement in placements.items()
        )

    def grounds(self) -> Sequence[Ground]:
        return self._grounds

    def closed_lanes(self) -> Mapping[str, Closed]:
        closed = dict(self._closings.closed())
        for placement in self._placements.values():
            closed.update(placement.closed_lanes())
        return closed

    def place(self, spec: ExecutorSpec) -> None:
        cluster = self._cluster_of.get(spec.region)
        if cluster is None:  # it was taken out of the settings while runs waited for it
            reason = f"there is no region {spec.region} any more: there are {', '.join(self._cluster_of)}"
            self._closings.close(spec.lane, Closed(reason))
            raise CannotPlace(reason)
        self._placements[cluster].place(spec)

    def stop(self, executor: str, grace: float) -> None:
        for placement in self._placements.values():
            placement.stop(executor, grace)

    def living(self) -> list[Placed]:
        return [placed for placement in self._placements.values() for placed in placement.living()]

    def ended(self) -> list[Ended]:
        return [ended for placement in self._placements.values() for ended in placement.ended()]

    def settled(self, executors: Collection[str]) -> None:
        for placement in self._placements.values():
            placement.settled(executors)

    def close(self, grace: float) -> None:
        with ThreadPoolExecutor(len(self._placements)) as pool:
            list(pool.map(lambda placement: placement.close(grace), self._placements.values()))

    def leave(self) -> None:
        for placement in self._placements.values():
            placement.leave()
