"""The fair queue by itself, over a real Redis: does a choice stay cheap with many queues, a look at them with many keys;
are the shares even."""

from __future__ import annotations

import time
from collections import Counter

import redis
from tests.support import redis_server

from bench.measure import in_ms, row
from sojourn.control_plane.domain.due_runs import Entry
from sojourn.control_plane.domain.fair_limits import Limits
from sojourn.control_plane.queue.fair_queue import FairQueue
from sojourn.control_plane.queue.loads import Loads
from sojourn.control_plane.queue.notices import Notices

_ORGANIZATION = "org_1"
_TAKEN, _LOOKS = 2_000, 200


def main() -> None:
    """One row for each number of queues, one for each number of keys, one for the shares of nine organizations."""
    with redis_server.server() as url:
        connection = redis.Redis.from_url(url)
        for queues in (10, 1_000, 100_000):
            dequeue(connection, queues)
        for count in (10, 200_000):
            looks(connection, count)
        shares(connection)
        connection.close()


def dequeue(connection: redis.Redis, queues: int) -> None:
    """Takes and acknowledges runs out of so many queues, each with work throughout."""
    queue = _queue(connection, _ORGANIZATION)
    each = max(1, 2 * _TAKEN // queues)
    entries = [_entry(_ORGANIZATION, f"run_{n}_{q}", f"queue_{q}", n) for n in range(each) for q in range(queues)]
    for start in range(0, len(entries), 1_000):
        queue.enqueue(entries[start : start + 1_000], 0)
    spent = []
    for _ in range(_TAKEN):
        begun = time.perf_counter()
        taken = queue.dequeue(_ORGANIZATION, 1)
        spent.append(time.perf_counter() - begun)
        assert taken
        queue.ack(_ORGANIZATION, taken.run, 1)
    row(f"dequeue, {queues:,} queues wait", per_s=len(spent) / sum(spent), **in_ms(spent))


def looks(connection: redis.Redis, count: int) -> None:
    """How full 25 queues are, of which the first has so many concurrency keys with work."""
    queue, loads = _queue(connection, _ORGANIZATION), Loads(connection)
    for start in range(0, count, 1_000):
        numbers = range(start, min(start + 1_000, count))
        queue.enqueue([_entry(_ORGANIZATION, f"run_{n}", "queue_0", n, f"key_{n}") for n in numbers], 0)
    spent = []
    for _ in range(_LOOKS):
        begun = time.perf_counter()
        (first, *_) = loads.of_queues(_ORGANIZATION, [("env_1", f"queue_{n}") for n in range(25)])
        spent.append(time.perf_counter() - begun)
        assert first.waiting == count
    row(f"a look at 25 queues, {count:,} keys with work", **in_ms(spent))


def shares(connection: redis.Redis) -> None:
    """Nine organizations with 100 to 900 runs each: who is served while all of them wait."""
    names = [f"org_{n}" for n in range(1, 10)]
    queue = _queue(connection, *names)
    for n, name in enumerate(names, 1):
        queue.enqueue([_entry(name, f"run_{name}_{r}", "q", r) for r in range(100 * n)], 0)
        _wait_until_known(connection, name)
    served: Counter[str] = Counter()
    for _ in range(900):
        chosen = queue.choose(1)
        assert chosen and queue.dequeue(chosen, 1)
        served[chosen] += 1
    row(
        "fair shares of 9 organizations, queue alone",
        jain=f"{jain(list(served.values())):.4f}",
        served=sum(served.values()),
    )


def jain(values: list[int]) -> float:
    """Jain's index: 1 when all have the same, 1/n when one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def _queue(connection: redis.Redis, *organizations: str) -> FairQueue:
    connection.flushdb()
    queue = FairQueue(connection, Notices(connection))
    for organization in organizations:
        queue.begin_rebuild(organization, Limits, 0)
        queue.finish_rebuild(organization, 0)
    return queue


def _entry(organization: str, run: str, queue: str, score: int, key: str = "") -> Entry:
    return Entry(run, organization, "env_1", "current", "small-1x", queue, key, score)


def _wait_until_known(connection: redis.Redis, organization: str) -> None:
    while connection.zscore("sojourn:orgs", organization) is None:
        time.sleep(0.001)
