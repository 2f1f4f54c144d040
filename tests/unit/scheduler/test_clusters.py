"""Several clusters behind one interface: a region says on which; none waits for another."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

import pytest
from tests.unit.scheduler.test_dispatcher import NOW, Placement, Turns

from sojourn.control_plane.domain.lanes import lane_of
from sojourn.scheduler.dispatcher import Dispatcher
from sojourn.scheduler.placement.base import CannotPlace, Closed, Ended, Placed
from sojourn.scheduler.placement.clusters import Clusters


class Cluster(Placement):
    """So many places are free on it."""

    def __init__(self, free: int):
        super().__init__(free)
        self.gone: list[Ended] = []
        self.closing = threading.Event()
        self.others: list[Cluster] = []

    def place(self, spec: Any) -> None:
        self.places -= 1
        self.here.append(Placed(spec.executor, spec.environment, spec.version, spec.machine, "1", region=spec.region))

    def ended(self) -> list[Ended]:
        return list(self.gone)

    def settled(self, executors: Collection[str]) -> None:
        self.gone = [each for each in self.gone if each.executor not in executors]

    def close(self, grace: float) -> None:
        """Takes as long as the others take to begin."""
        self.closing.set()
        assert all(other.closing.wait(60) for other in self.others)

    def leave(self) -> None:
        self.closing.set()


class Placing:
    """Runs wait, by region; the first of a lane that is not skipped is next."""

    def __init__(self, **waiting: int):
        self.waiting = {lane_of("env", "v", "micro", region): count for region, count in waiting.items()}
        self.returned: list[str] = []
        self.idle: set[str] = set()
        self.number = 0

    def readmit(self, now: Any) -> int:
        return 0

    def next_order(self, now: Any, skip: tuple[str, ...]) -> Any:
        from types import SimpleNamespace as Row

        for lane, count in self.waiting.items():
            if count and lane not in skip:
                self.waiting[lane] -= 1
                self.number += 1
                region = lane.split("|")[3] if lane.count("|") == 3 else "default"
                identity = Row(
                    executor=f"e{self.number}", organization="o", environment="env", version="v", machine="micro",
                    region=region,
                )  # fmt: skip
                run = Row(id=f"run{self.number}", snapshot=2, frozen_on=None)
                return Row(identity=identity, version_hash="h", lane=lane, run=run, credential="c")
        return None

    def waiting_lanes(self, now: Any) -> set[str]:
        return {lane for lane, count in self.waiting.items() if count}

    def waiting_environments(self, now: Any, skip: tuple[str, ...]) -> set[str]:
        return {lane.split("|")[0] for lane in self.waiting_lanes(now) - set(skip)}

    def idle_executors(self) -> set[str]:
        return self.idle

    def return_order(self, order: Any, reason: str, now: Any) -> None:
        self.waiting[order.lane] += 1
        self.returned.append(reason)


REGIONS = {"default": "home", "gpu": "home", "eu": "eu-1"}


def made(home: Cluster, eu: Cluster) -> Clusters:
    return Clusters({"home": home, "eu-1": eu}, REGIONS)


def dispatcher(placing: Placing, clusters: Clusters, turns: Turns | None = None) -> Dispatcher:
    return Dispatcher(placing, clusters, turns or Turns(), lambda: NOW)  # type: ignore[arg-type]


def test_a_region_s_runs_go_to_its_cluster() -> None:
    home, eu, placing = Cluster(10), Cluster(10), Placing(default=1, gpu=2, eu=3)
    clusters = made(home, eu)
    assert dispatcher(placing, clusters).run_once(NOW)["placed"] == 6
    assert [placed.region for placed in home.here] == ["default", "gpu", "gpu"]
    assert [placed.region for placed in eu.here] == ["eu"] * 3
    assert len(clusters.living()) == 6
    clusters.stop("e1", 0)
    assert home.stopped == ["e1"]


def test_a_cluster_without_a_place_holds_back_its_own_runs_alone() -> None:
    home, eu, placing = Cluster(0), Cluster(2), Placing(default=2, eu=3)
    assert dispatcher(placing, made(home, eu)).run_once(NOW)["placed"] == 2
    assert (len(home.here), len(eu.here)) == (0, 2)
    assert placing.returned == [], "nobody was tried in vain"
    assert placing.waiting == {"env|v|micro": 2, "env|v|micro|eu": 1}


def test_closed_lanes_are_told_of_every_cluster() -> None:
    home, eu = Cluster(1), Cluster(1)
    home.closed["a"], eu.closed["b"] = Closed("no node"), Closed("no room", is_full=True)
    assert set(made(home, eu).closed_lanes()) == {"a", "b"}


def test_room_is_made_on_the_cluster_that_lacks_it_and_by_the_region_that_has_it() -> None:
    home, eu, placing, turns = Cluster(0), Cluster(0), Placing(eu=1), Turns()
    home.here = [Placed("h", "other", "v", "micro", "1"), Placed("h2", "other", "v", "micro", "2")]
    eu.here = [Placed("a", "other", "v", "micro", "3", region="eu"), Placed("b", "other", "v", "micro", "4", region="eu")]
    looks = dispatcher(placing, made(home, eu), turns)
    looks.run_once(NOW)
    assert turns.wanted == [("other", "eu", 1)]
    placing.idle = {"h", "b"}
    for _ in range(2):
        looks.run_once(NOW)
    assert (home.stopped, eu.stopped) == (["b"], ["b"]), "each is asked, one has it"


def test_a_region_that_was_taken_away_keeps_its_runs_and_says_so() -> None:
    home, eu, placing = Cluster(5), Cluster(5), Placing(us=1, eu=1)
    clusters = made(home, eu)
    assert dispatcher(placing, clusters).run_once(NOW)["placed"] == 1
    assert placing.returned == ["there is no region us any more: there are default, gpu, eu"]
    assert set(clusters.closed_lanes()) == {"env|v|micro|us"}
    with pytest.raises(CannotPlace, match="there is no region us any more"):
        clusters.place(_spec("us"))


def test_all_are_closed_at_once_and_every_end_is_told() -> None:
    home, eu = Cluster(1), Cluster(1)
    home.others, eu.others = [eu], [home]
    clusters = made(home, eu)
    home.gone, eu.gone = [Ended("a", 0, "left")], [Ended("b", 0, "left")]
    assert [ended.executor for ended in clusters.ended()] == ["a", "b"]
    clusters.settled(["a", "b"])
    assert (clusters.ended(), home.gone, eu.gone) == ([], [], [])
    clusters.close(1)
    assert home.closing.is_set() and eu.closing.is_set()


def _spec(region: str) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(region=region, lane=lane_of("env", "v", "micro", region))
