"""How full queues are, for a page of them, in a real Redis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
import redis

from sojourn.control_plane.domain.due_runs import Entry
from sojourn.control_plane.domain.fair_limits import Limits, QueueLimits
from sojourn.control_plane.queue import fair_queue, keys
from sojourn.control_plane.queue.fair_queue import FairQueue, NotReady
from sojourn.control_plane.queue.loads import Load, Loads
from sojourn.control_plane.queue.notices import Notices

ORGANIZATION, ENVIRONMENT = "org_1", "env_a"
COUNTS = keys.prefix(ORGANIZATION) + "waiting"


@pytest.fixture
def notices(redis_connection: redis.Redis) -> Iterator[Notices]:
    made = Notices(redis_connection)
    yield made
    made.close()


@pytest.fixture
def queue(redis_connection: redis.Redis, notices: Notices) -> FairQueue:
    made = FairQueue(redis_connection, notices)
    made.begin_rebuild(ORGANIZATION, Limits, 0)
    made.finish_rebuild(ORGANIZATION, 0)
    return made


def entries(queue: str, numbers: Iterable[int], version: str = "current") -> list[Entry]:
    """Runs of a queue, each with a concurrency key of its own."""
    return [
        Entry(f"run_{queue}_{n}", ORGANIZATION, ENVIRONMENT, version, "small-1x", queue, f"key_{n}", n) for n in numbers
    ]


def commands(connection: redis.Redis) -> int:
    """How many the server has carried out."""
    return sum(each["calls"] for name, each in connection.info("commandstats").items() if name != "cmdstat_info")


def loads(connection: redis.Redis, *names: str) -> list[Load]:
    return Loads(connection).of_queues(ORGANIZATION, [(ENVIRONMENT, name) for name in names])


def test_a_page_costs_as_many_commands_as_it_has_queues(
    redis_connection: redis.Redis, queue: FairQueue, notices: Notices
) -> None:
    """However many concurrency keys they have."""
    queue.enqueue(entries("few", range(2)), 0)
    queue.enqueue(entries("many", range(2_000)), 0)
    notices.close()  # what they say of these is sent, and not counted with the page
    spent = []
    for name, waiting in (("few", 2), ("many", 2_000), ("none", 0)):
        before = commands(redis_connection)
        assert loads(redis_connection, name) == [Load(0, waiting)]
        spent.append(commands(redis_connection) - before)
    assert len(set(spent)) == 1


def test_counts_follow_the_runs(redis_connection: redis.Redis, queue: FairQueue) -> None:
    """Over lanes, keys and queues, in flight, given back, done."""
    queue.enqueue([*entries("a", range(3)), *entries("a", range(3, 5), "v1"), *entries("b", range(1))], 0)
    assert loads(redis_connection, "b", "a", "none") == [Load(0, 1), Load(0, 5), Load(0, 0)]
    taken = [queue.dequeue(ORGANIZATION, 1) for _ in range(6)]
    assert loads(redis_connection, "a", "b") == [Load(5, 0), Load(1, 0)]
    first = next(each for each in taken if each and each.queue == "a")
    queue.nack(ORGANIZATION, first.run, 2)
    assert loads(redis_connection, "a", "b") == [Load(4, 1), Load(1, 0)]
    for each in taken:
        assert each
        queue.ack(ORGANIZATION, each.run, 3)
    assert loads(redis_connection, "a", "b") == [Load(0, 0), Load(0, 0)]
    assert not redis_connection.exists(COUNTS)


def test_a_queue_from_before_counts_is_counted_by_its_keys_until_it_is_empty(
    redis_connection: redis.Redis, queue: FairQueue
) -> None:
    """An earlier release's servers keep no counts, also while both are there."""
    queue.enqueue(entries("old", range(3)), 0)
    redis_connection.delete(COUNTS)
    queue.enqueue(entries("old", range(3, 5)), 0)
    assert loads(redis_connection, "old") == [Load(0, 5)]
    for _ in range(5):
        assert queue.dequeue(ORGANIZATION, 1)
    assert loads(redis_connection, "old") == [Load(5, 0)]
    redis_connection.hset(COUNTS, keys.within(ENVIRONMENT, "old"), 7)  # left over from what nobody counted down
    assert loads(redis_connection, "old") == [Load(5, 0)]
    queue.enqueue(entries("old", range(5, 7)), 0)
    assert loads(redis_connection, "old") == [Load(5, 2)]


def test_a_count_that_was_not_kept_is_made_good(redis_connection: redis.Redis, queue: FairQueue) -> None:
    """An earlier release's server takes runs, and says nothing of it; the queue is never empty."""
    queue.enqueue([*entries("a", range(3)), *entries("a", range(3, 5), "v1"), *entries("b", range(2))], 0)
    redis_connection.hincrby(COUNTS, keys.within(ENVIRONMENT, "a"), 4)
    assert loads(redis_connection, "a") == [Load(0, 9)]
    assert queue.recount(ORGANIZATION) == 1
    assert loads(redis_connection, "a", "b") == [Load(0, 5), Load(0, 2)]
    queue.set_limits(
        ORGANIZATION, lambda: Limits(queues={(ENVIRONMENT, "a"): QueueLimits(concurrency=0)}), 1
    )  # held back, they wait as well
    assert queue.recount(ORGANIZATION) == 0 == queue.recount("org_none")
    assert loads(redis_connection, "a", "b") == [Load(0, 5), Load(0, 2)]


def test_a_queue_of_very_many_keys_is_not_recounted(
    redis_connection: redis.Redis, queue: FairQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue(entries("a", range(5)), 0)
    redis_connection.hincrby(COUNTS, keys.within(ENVIRONMENT, "a"), 4)
    monkeypatch.setattr(fair_queue, "_RECOUNTED_KEYS", 4)
    assert queue.recount(ORGANIZATION) == 0
    assert loads(redis_connection, "a") == [Load(0, 9)]
    monkeypatch.setattr(fair_queue, "_RECOUNTED_KEYS", 5)
    assert queue.recount(ORGANIZATION) == 1
    assert loads(redis_connection, "a") == [Load(0, 5)]


def test_nothing_is_known_after_a_loss(redis_connection: redis.Redis) -> None:
    with pytest.raises(NotReady):
        loads(redis_connection, "a")
