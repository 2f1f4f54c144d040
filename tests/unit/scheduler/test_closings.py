"""Lanes that a cluster has no node for: how long they are left alone."""

from __future__ import annotations

from sojourn.scheduler.placement.base import Closed
from sojourn.scheduler.placement.closings import Closings

NO_NODE, FULL = Closed("no node fits"), Closed("waiting for capacity", is_full=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pauses_grow_to_a_bound_and_start_again() -> None:
    clock = Clock()
    made = Closings(clock, first=2, longest=10)
    pauses = []
    for _ in range(5):
        made.close("a", NO_NODE)
        start = clock.now
        while made.closed():
            clock.now += 0.5
        pauses.append(clock.now - start)
    assert pauses == [2, 4, 8, 10, 10]
    made.open("a")
    made.close("a", NO_NODE)
    clock.now += 2
    assert made.closed() == {}


def test_of_many_that_were_asked_for_at_once_one_counts() -> None:
    clock = Clock()
    made = Closings(clock, first=2)
    for _ in range(10):
        made.close("a", NO_NODE)
    clock.now += 2
    assert made.closed() == {}


def test_room_opens_the_lanes_that_wait_for_it() -> None:
    clock = Clock()
    made = Closings(clock, first=2)
    made.close("a", NO_NODE)
    made.close("b", FULL)
    assert made.closed() == {"a": NO_NODE, "b": FULL}
    made.room()
    assert made.closed() == {"a": NO_NODE}


def test_old_ones_are_forgotten() -> None:
    clock = Clock()
    made = Closings(clock, first=2, longest=10)
    made.close("a", NO_NODE)
    clock.now += 20
    made.closed()
    made.close("a", NO_NODE)
    clock.now += 2
    assert made.closed() == {}
