"""How full queues are, for a page of them, in a real Redis."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


def leaves(connection: redis.Redis) -> int:
    """How many runs wait, counted one key after the other."""
    return sum(connection.zcard(name) for name in connection.scan_iter(match=f"{keys.prefix(ORGANIZATION)}leaf:*"))


def in_portions(
    connection: redis.Redis, queue: FairQueue, between: Callable[[int], None] = lambda n: None, most: int = 200
) -> int:
    """Recounts until a queue of many keys is through; how many portions that took. `between`: what happens after each."""
    done = f"{keys.prefix(ORGANIZATION)}counted:{keys.within(ENVIRONMENT, 'a')}"
    connection.delete(done)
    for portion in range(most):
        queue.recount(ORGANIZATION)
        if connection.exists(done):
            assert not connection.exists(f"{keys.prefix(ORGANIZATION)}counting")
            return portion
        between(portion)
    raise AssertionError(f"not through after {most} portions")


def test_a_queue_of_very_many_keys_is_counted_in_portions(
    redis_connection: redis.Redis, queue: FairQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More keys than a call may look at, and than Redis keeps in one piece, so that a scan of them is several."""
    queue.enqueue([*entries("a", range(400)), *entries("a", range(400, 700), "v1"), *entries("b", range(2))], 0)
    redis_connection.hincrby(COUNTS, keys.within(ENVIRONMENT, "a"), 4)
    monkeypatch.setattr(fair_queue, "_RECOUNTED_KEYS", 100)
    assert 8 <= in_portions(redis_connection, queue) <= 40, "twice, as it was wrong at first"
    assert loads(redis_connection, "a", "b") == [Load(0, 700), Load(0, 2)]
    redis_connection.hincrby(COUNTS, keys.within(ENVIRONMENT, "a"), 4)
    assert queue.recount(ORGANIZATION) == 0, "it is left alone for a while"
    assert not redis_connection.exists(f"{keys.prefix(ORGANIZATION)}counting")
    monkeypatch.setattr(fair_queue, "_RECOUNTED_KEYS", 700)
    assert queue.recount(ORGANIZATION) == 1


def test_a_count_that_an_earlier_release_spoils_while_it_is_made_is_made_again(
    redis_connection: redis.Redis, queue: FairQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server counts the runs that come to a key, but knows nothing of those that were counted before."""
    monkeypatch.setattr(fair_queue, "_RECOUNTED_KEYS", 100)
    queue.enqueue(entries("a", range(700)), 0)
    prefix, came = keys.prefix(ORGANIZATION), itertools.count()

    def between(portion: int) -> None:
        counted = [name for name in redis_connection.hkeys(f"{prefix}counting") if not name.startswith(b"#")]
        if counted and next(came) < 3:
            redis_connection.zadd(f"{prefix}leaf:{counted[0].decode()}", {f"run_late_{portion}": 1})
            redis_connection.hincrby(COUNTS, keys.within(ENVIRONMENT, "a"), 1)

    in_portions(redis_connection, queue, between)
    assert next(came) > 3 and leaves(redis_connection) == 703
    assert loads(redis_connection, "a") == [Load(0, 703)]


def test_what_changes_between_two_portions_is_counted(
    redis_connection: redis.Redis, queue: FairQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs come and go, keys are new and are emptied, a pause moves them all; and the count is that of the leaves."""
    monkeypatch.setattr(fair_queue, "_RECOUNTED_KEYS", 100)
    queue.enqueue(entries("a", range(700)), 0)
    redis_connection.hset(COUNTS, keys.within(ENVIRONMENT, "a"), 5_000)
    more = itertools.count(700)

    def between(portion: int) -> None:
        fresh = [next(more) for _ in range(30)]
        queue.enqueue(entries("a", fresh), 0)
        again = [
            replace(each, run=f"{each.run}_{portion}") for each in entries("a", range(portion * 20, portion * 20 + 40))
        ]
        queue.enqueue(again, 0)
        for _ in range(25):
            taken = queue.dequeue(ORGANIZATION, 1)
            if taken is not None and portion % 2:
                queue.ack(ORGANIZATION, taken.run, 1)
        if portion in (2, 4):
            paused = QueueLimits(paused=portion == 2)
            queue.set_limits(ORGANIZATION, lambda: Limits(queues={(ENVIRONMENT, "a"): paused}), 1)

    for _ in range(2):
        in_portions(redis_connection, queue, between)
        assert loads(redis_connection, "a")[0].waiting == leaves(redis_connection) > 700


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("enqueue"), st.integers(0, 15)),
            st.tuples(st.just("dequeue"), st.just(0)),
            st.tuples(st.just("ack"), st.integers(0, 15)),
            st.tuples(st.just("nack"), st.just(0)),
            st.tuples(st.just("limit"), st.sampled_from([0, 1, 100])),
            st.tuples(st.just("recount"), st.just(0)),
        ),
        max_size=40,
    ),
    st.integers(-3, 30),
)
def test_whatever_happens_meanwhile(
    redis_connection: redis.Redis, notices: Notices, steps: list[tuple[str, int]], count: int
) -> None:
    redis_connection.flushall()
    queue = FairQueue(redis_connection, notices)
    queue.begin_rebuild(ORGANIZATION, Limits, 0)
    queue.finish_rebuild(ORGANIZATION, 0)
    queue.enqueue(entries("a", range(10)), 0)
    redis_connection.hset(COUNTS, keys.within(ENVIRONMENT, "a"), count)
    runs, taken = itertools.count(100), []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fair_queue, "_RECOUNTED_KEYS", 3)
        for _ in range(2):  # it is begun, and some of the keys are counted
            queue.recount(ORGANIZATION)
        for step, n in steps:
            if step == "enqueue":
                [entry] = entries("a", [n], ("current", "v1")[n % 2])
                queue.enqueue([replace(entry, run=f"run_{next(runs)}")], 0)
            elif step == "dequeue":
                taken += filter(None, [queue.dequeue(ORGANIZATION, 1)])
            elif step == "ack":
                queue.ack(ORGANIZATION, f"run_a_{n}", 1)
            elif step == "nack" and taken:
                queue.nack(ORGANIZATION, taken.pop().run, 1)
            elif step == "limit":
                limits = Limits(queues={(ENVIRONMENT, "a"): QueueLimits(concurrency=n)})
                queue.set_limits(ORGANIZATION, lambda limits=limits: limits, 1)  # type: ignore[misc]
            elif step == "recount":
                queue.recount(ORGANIZATION)
        queue.enqueue(entries("a", range(200, 210)), 0)
        in_portions(redis_connection, queue)
    assert loads(redis_connection, "a")[0].waiting == leaves(redis_connection)


def test_nothing_is_known_after_a_loss(redis_connection: redis.Redis) -> None:
    with pytest.raises(NotReady):
        loads(redis_connection, "a")
