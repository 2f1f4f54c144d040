"""When the dispatcher looks again. What it places is shown with real executors, in the acceptance tests."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.scheduler.dispatcher import Dispatcher
from sojourn.scheduler.placement.base import CannotPlace, Closed

NOW = datetime(2026, 3, 4, tzinfo=UTC)
IDENTITY = SimpleNamespace(executor="e", organization="o", environment="env", version="v", machine="small-1x")
ORDER = SimpleNamespace(
    identity=IDENTITY, version_hash="h", lane="lane", run=SimpleNamespace(id="run", snapshot=2), credential="c"
)


class Placing:
    """So many runs wait."""

    def __init__(self, waiting: int):
        self.waiting = waiting
        self.returned: list[str] = []

    def next_order(self, now: datetime, skip: tuple[str, ...]) -> Any:
        if not self.waiting or "lane" in skip:
            return None
        self.waiting -= 1
        return ORDER

    def return_order(self, order: Any, reason: str, now: datetime) -> None:
        self.waiting += 1
        self.returned.append(reason)


class Placement:
    """So many places are free; `broken` ones fail."""

    def __init__(self, free: int, broken: bool = False):
        self.places = free
        self.broken = broken
        self.closed: dict[str, Closed] = {}

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


def dispatcher(placing: Placing, placement: Placement) -> Dispatcher:
    return Dispatcher(placing, placement, turns=None)  # type: ignore[arg-type]


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
