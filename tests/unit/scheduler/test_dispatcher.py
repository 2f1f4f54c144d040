"""When the dispatcher looks again. What it places is shown with real executors, in the acceptance tests."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.domain.sharing import full_environments
from sojourn.scheduler.dispatcher import Dispatcher
from sojourn.scheduler.placement.base import CannotPlace, Closed, Placed

NOW = datetime(2026, 3, 4, tzinfo=UTC)
IDENTITY = SimpleNamespace(
    executor="e", organization="o", environment="lane", version="v", machine="small-1x", region="default"
)
RUN = SimpleNamespace(id="run", snapshot=2, frozen_on=None)
ORDER = SimpleNamespace(
    identity=IDENTITY,
    version_hash="h",
    lane="lane",
    run=RUN,
    credential="c",
)


class Placing:
    """So many runs wait."""

    def __init__(self, waiting: int):
        self.waiting = waiting
        self.returned: list[str] = []
        self.idle: set[str] = set()

    def readmit(self, now: datetime) -> int:
        return 0

    def next_order(self, now: datetime, skip: tuple[str, ...]) -> Any:
        if not self.waiting or "lane" in skip:
            return None
        self.waiting -= 1
        return ORDER

    def waiting_lanes(self, now: datetime) -> set[str]:
        return {"lane"} if self.waiting else set()

    def waiting_environments(self, now: datetime, skip: tuple[str, ...]) -> set[str]:
        return self.waiting_lanes(now) - set(skip)

    def lanes_of(self, environment: str, version: str, machine: str, region: str) -> set[str]:
        return {"lane"} if machine == "small-1x" else {"another lane"}

    def idle_executors(self) -> set[str]:
        return self.idle

    def return_order(self, order: Any, reason: str, now: datetime) -> None:
        self.waiting += 1
        self.returned.append(reason)


class Placement:
    """So many places are free; `broken` ones fail."""

    def __init__(self, free: int, broken: bool = False):
        self.places = free
        self.broken = broken
        self.closed: dict[str, Closed] = {}
        self.here: list[Placed] = []
        self.stopped: list[str] = []

    def grounds(self) -> tuple[Placement, ...]:
        return (self,)

    def serves(self, lane: str) -> bool:
        return True

    def free(self) -> int:
        return self.places

    def is_full(self) -> bool:
        return self.places == 0

    def closed_lanes(self) -> dict[str, Closed]:
        return self.closed

    def place(self, spec: Any) -> None:
        if self.broken:
            raise CannotPlace("no")
        self.places -= 1
        self.here.append(Placed(f"e{len(self.here)}", spec.environment, spec.version, spec.machine, "1"))

    def living(self) -> list[Placed]:
        return self.here

    def stop(self, executor: str, grace: float) -> None:
        self.stopped.append(executor)


class Turns:
    """The places that were wanted."""

    def __init__(self) -> None:
        self.wanted: list[tuple[str, str, int]] = []

    def want_places(self, environment: str, region: str, count: int) -> None:
        self.wanted.append((environment, region, count))


def dispatcher(
    placing: Placing, placement: Placement, most_of_one: int = 0, turns: Turns | None = None, **more: Any
) -> Dispatcher:
    return Dispatcher(placing, placement, turns or Turns(), lambda: NOW, most_of_one, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("waiting", "placed", "naps"), [(3, 3, True), (50, 50, False), (80, 50, False)])
def test_it_looks_again_at_once_while_more_may_wait(waiting: int, placed: int, naps: bool):
    made = dispatcher(Placing(waiting), Placement(1_000))
    assert made.run_once(NOW)["placed"] == placed
    assert (made.interval(NOW) > 0) is naps


def test_a_lane_that_cannot_be_placed_is_set_aside_for_a_while():
    placing = Placing(3)
    made = dispatcher(placing, Placement(10, broken=True))
    assert made.run_once(NOW)["placed"] == 0
    assert placing.returned == ["no"] and placing.waiting == 3
    assert 0 < made.interval(NOW) <= 2


def test_a_lane_that_the_cluster_has_no_node_for_is_left_alone():
    placing, placement = Placing(3), Placement(10)
    placement.closed["lane"] = Closed("no node fits")
    made = dispatcher(placing, placement)
    assert made.run_once(NOW)["placed"] == 0
    assert placing.returned == [] and placing.waiting == 3
    assert made.interval(NOW) < 1, "it looks again soon, since the lane may be open by then"
    placement.closed.clear()
    assert made.run_once(NOW)["placed"] == 3


def test_an_environment_gets_no_more_executors_than_it_may_have():
    placing, placement, turns = Placing(5), Placement(10), Turns()
    made = dispatcher(placing, placement, most_of_one=2, turns=turns)
    assert made.run_once(NOW) == {"readmitted": 0, "placed": 2, "asked": 0}
    assert (placing.waiting, placing.returned) == (3, [])
    assert made.run_once(NOW) == {"readmitted": 0, "placed": 0, "asked": 0}, "its runs wait for the executors that it has"
    assert made.interval(NOW) < 1 and turns.wanted == []


def test_an_environment_without_an_executor_for_its_lane_gives_up_one_of_its_own():
    placing, placement, turns = Placing(1), Placement(10), Turns()
    placement.here = [Placed("e1", "lane", "v", "large-1x", "1"), Placed("e2", "lane", "v", "large-1x", "2")]
    made = dispatcher(placing, placement, most_of_one=2, turns=turns)
    placing.idle = {"e2"}
    assert made.run_once(NOW)["placed"] == 0
    assert (placement.stopped, turns.wanted) == ([], [("lane", "default", 1)]), (
        "who idles for a moment may be about to get a run"
    )
    assert made.run_once(NOW)["placed"] == 0
    assert (placement.stopped, len(turns.wanted)) == (["e2"], 1)
    placement.here = placement.here[:1]
    assert made.run_once(NOW)["placed"] == 1


def test_executors_whose_runs_only_wait_do_not_count():
    """Else parents that wait in memory would keep out the children they wait for."""
    placing, placement, resting = Placing(5), Placement(10), {"lane": Resting(0, 0)}
    made = dispatcher(placing, placement, most_of_one=2, resting=lambda: resting)
    assert made.run_once(NOW)["placed"] == 2
    resting["lane"] = Resting(2, 0)
    assert made.run_once(NOW)["placed"] == 2
    assert made.run_once(NOW)["placed"] == 0


@pytest.mark.parametrize(("most", "full"), [(0, set()), (1, {"a", "b"}), (2, {"a"}), (3, set())])
def test_who_has_all_that_it_may_have(most: int, full: set[str]):
    assert full_environments(["a", "b", "a"], most) == full
