"""What the sweep reads of a queue, in a real Redis."""

from __future__ import annotations

import pytest
import redis

from sojourn.control_plane.domain.due_runs import Entry
from sojourn.control_plane.domain.fair_limits import Limits
from sojourn.control_plane.queue.fair_queue import FairQueue, NotReady
from sojourn.control_plane.queue.notices import Notices

ORGANIZATION = "org_1"


def entry(n: int) -> Entry:
    return Entry(f"run_{n:05}", ORGANIZATION, "env_a", "current", "small-1x", "q", "", n)


def test_stretches_cover_all_runs_and_each_has_those_in_flight(redis_connection: redis.Redis):
    queue = FairQueue(redis_connection, Notices(redis_connection))
    queue.begin_rebuild(ORGANIZATION, Limits, 0)
    queue.finish_rebuild(ORGANIZATION, 0)
    entries = [entry(n) for n in range(3_000)]
    queue.enqueue(entries, 0)
    taken = queue.dequeue(ORGANIZATION, 0)
    assert taken
    seen: set[str] = set()
    cursor, looks = 0, 0
    while not looks or cursor:
        cursor, some = queue.stretch(ORGANIZATION, cursor, 500)
        assert taken.run in some and len(some) < 1_500
        seen |= set(some)
        looks += 1
    assert seen == {each.run for each in entries}
    assert looks > 1


def test_nothing_is_read_of_a_queue_that_was_lost(redis_connection: redis.Redis):
    with pytest.raises(NotReady):
        FairQueue(redis_connection, Notices(redis_connection)).stretch(ORGANIZATION, 0, 100)
