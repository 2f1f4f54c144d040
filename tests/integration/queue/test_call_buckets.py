"""Buckets of calls in a real Redis: counted by its own clock, shared, and no hindrance while it is away."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.redis_server import start_redis

from sojourn.control_plane.domain.allowance import MAX_BATCH_RUNS, Allowance
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.call_buckets import CallBuckets

#: One more comes in more time than any test takes.
SLOW = Allowance(capacity=5, refill=1, seconds=10_000)
LARGE = Allowance(capacity=5_000, refill=1, seconds=10_000)


def test_so_many_and_no_more(redis_connection: redis.Redis) -> None:
    buckets = CallBuckets(redis_connection)
    taken = [buckets.take("a", SLOW) for _ in range(7)]
    assert [each and (each.allowed, each.remaining) for each in taken] == [
        (True, 4), (True, 3), (True, 2), (True, 1), (True, 0), (False, 0), (False, 0),
    ]  # fmt: skip
    last = taken[-1]
    assert last and 9_900_000 < last.wait_ms <= 10_000_000
    other = buckets.take("b", SLOW)
    assert other and other.allowed, "each has a bucket of its own"


def test_processes_share_a_bucket(redis_connection: redis.Redis) -> None:
    first, second = CallBuckets(redis_connection), CallBuckets(redis_connection)
    taken = [(first, second)[number % 2].take("a", SLOW) for number in range(6)]
    assert [bool(each and each.allowed) for each in taken] == [True] * 5 + [False]


def test_a_large_bucket_is_asked_for_rarely_and_gives_no_more_for_it(redis_connection: redis.Redis) -> None:
    buckets = [CallBuckets(redis_connection, lambda: 0.0) for _ in range(3)]
    before = int(redis_connection.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])
    taken = [each.take("a", LARGE) for _ in range(2_000) for each in buckets]
    allowed = sum(bool(each and each.allowed) for each in taken)
    assert allowed == LARGE.capacity
    asked = int(redis_connection.info("commandstats")["cmdstat_evalsha"]["calls"]) - before
    assert asked <= LARGE.capacity / LARGE.portion + (len(taken) - allowed) + len(buckets)


def test_many_are_had_at_once_or_none(redis_connection: redis.Redis) -> None:
    buckets = CallBuckets(redis_connection)
    first, refused, rest = (buckets.take_all("a", SLOW, count) for count in (3, 3, 2))
    assert (first, rest) == ((True, 2, 0), (True, 0, 0))
    assert refused and (refused.allowed, refused.remaining) == (False, 2)
    assert 9_900_000 < refused.wait_ms <= 10_000_000, "until there are three"


def test_a_full_bucket_gives_more_than_it_holds_and_owes_it(redis_connection: redis.Redis) -> None:
    buckets = CallBuckets(redis_connection)
    assert buckets.take_all("a", SLOW, 12) == (True, 0, 0)
    one = buckets.take_all("a", SLOW, 1)
    assert one and not one.allowed and 79_000_000 < one.wait_ms <= 80_000_000, "seven are owed, and one is asked for"
    again = buckets.take_all("a", SLOW, 12)
    assert again and not again.allowed and 119_000_000 < again.wait_ms <= 120_000_000


def test_what_came_to_nothing_is_given_back(redis_connection: redis.Redis) -> None:
    buckets = CallBuckets(redis_connection)
    assert buckets.take_all("a", SLOW, 4) == (True, 1, 0)
    buckets.give_back("a", SLOW, 3)
    assert buckets.take_all("a", SLOW, 4) == (True, 0, 0)
    buckets.give_back("a", SLOW, 50)
    assert redis_connection.keys("*") == [], "it is full, and never more than that"
    assert buckets.take_all("a", SLOW, 5) == (True, 0, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ahead=st.integers(0, 10**12),
    allowance=st.builds(Allowance, st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 1_000)),
    wished=st.integers(1, MAX_BATCH_RUNS),
    whole=st.booleans(),
)
def test_nobody_waits_for_a_clock_that_went_back(
    redis_connection: redis.Redis, ahead: int, allowance: Allowance, wished: int, whole: bool
) -> None:
    """What a Redis has counted whose clock was ahead, by so many ms: no more is owed than can have been taken."""
    redis_connection.set(keys.bucket("a"), f"{time.time() * 1000 + ahead:.3f}")
    buckets = CallBuckets(redis_connection)
    taken = buckets.take_all("a", allowance, wished) if whole else buckets.take("a", allowance)
    most = max(allowance.capacity, MAX_BATCH_RUNS) if whole else allowance.capacity
    assert taken and taken.wait_ms <= most * allowance.pace_ms + 1


def test_threads_share_a_portion(redis_connection: redis.Redis) -> None:
    buckets, allowed = CallBuckets(redis_connection, lambda: 0.0), []

    def call() -> None:
        allowed.extend(taken.allowed for _ in range(1_000) if (taken := buckets.take("a", LARGE)))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert allowed.count(True) == LARGE.capacity


def test_what_comes_back_in_time_is_no_key_any_more(redis_connection: redis.Redis) -> None:
    buckets = CallBuckets(redis_connection)
    fast = Allowance(capacity=1, refill=1_000, seconds=1)
    buckets.take("a", fast)
    until = time.monotonic() + 20
    while redis_connection.exists(keys.bucket("a")):
        assert time.monotonic() < until
    again = buckets.take("a", fast)
    assert again and again.allowed


def test_without_redis_nobody_is_counted_and_nobody_waits(tmp_path: Path) -> None:
    server, path = start_redis(tmp_path)
    now = 0.0
    buckets = CallBuckets(redis.Redis(unix_socket_path=str(path), socket_timeout=60), lambda: now)
    try:
        for _ in range(5):
            assert buckets.take("a", SLOW)
        refused = buckets.take("a", SLOW)
        assert refused and not refused.allowed
        server.kill()
        server.wait()
        assert buckets.take("a", SLOW) is None
        server, path = start_redis(tmp_path)
        assert buckets.take("a", SLOW) is None, "it is left alone for a while"
        now = 10.0
        assert buckets.take("a", SLOW), "then it is asked again"
    finally:
        server.kill()
        server.wait()
        buckets.close()
