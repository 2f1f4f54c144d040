"""Rates in the model, which the scripts are held against: never more in any span of time, and everything in the end."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from sojourn.control_plane.domain.due_runs import Entry
from sojourn.control_plane.domain.fair_limits import Limits, QueueLimits, Rate
from sojourn.control_plane.domain.fairness import FairQueueModel
from sojourn.control_plane.domain.lanes import goes_on

RATES = (Rate(100.0), Rate(100.0, 3), Rate(1000 / 7, 5), Rate(3.7, 20))


def entry(n: int, key: str = "", version: str = "current") -> Entry:
    return Entry(f"run_{n}", "org", "env", version, "small-1x", "q", key, n)


def rated(rate: Rate | None = None, key_rate: Rate | None = None) -> FairQueueModel:
    return FairQueueModel("org", limits=Limits(queues={("env", "q"): QueueLimits(rate=rate, key_rate=key_rate)}))


def holds(starts: Iterable[int], rate: Rate) -> bool:
    """Whether in every span between two starts no more came than the burst and what the rate gives for that span."""
    times = list(starts)
    return all(
        last - first + 1 <= rate.burst + (times[last] - times[first]) / rate.interval_ms + 1e-6
        for first in range(len(times))
        for last in range(first, len(times))
    )


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seed", range(5))
def test_no_span_of_time_has_more_starts_than_it_may(rate: Rate, seed: int) -> None:
    queue, chance = rated(rate, Rate(rate.interval_ms * 2, rate.burst)), random.Random(seed)
    now, made, starts = 1_000, 0, []
    while len(starts) < 60:
        now += chance.choice((0, 1, 13, 150, 1_000))
        if chance.random() < 0.7:
            made += 1
            queue.enqueue([entry(made, chance.choice("abc"), chance.choice(("current", "v1")))], now)
        if chance.random() < 0.5:
            queue.open(now)
        while taken := queue.dequeue(now):
            starts.append((now, taken.key))
            queue.ack(taken.run, now)
    assert holds([at for at, _ in starts], rate)
    for key in "abc":
        assert holds([at for at, name in starts if name == key], Rate(rate.interval_ms * 2, rate.burst))


def test_what_is_looked_at_when_it_is_due_comes_at_its_rate() -> None:
    queue, now, starts = rated(Rate(100.0, 2)), 1_000.0, []
    queue.enqueue([entry(n, key) for n, key in enumerate("aabbcc")], int(now))
    while len(starts) < 6:
        while taken := queue.dequeue(int(now)):
            starts.append(int(now))
            queue.ack(taken.run, int(now))
        now = queue.open(int(now)) or now
    assert starts == [1_000, 1_000, 1_100, 1_200, 1_300, 1_400]


def test_a_key_that_is_shut_keeps_no_other() -> None:
    queue = rated(None, Rate(1_000.0))
    queue.enqueue([entry(1, "a"), entry(2, "a"), entry(3, "b")], 0)
    assert [taken.run for _ in range(3) if (taken := queue.dequeue(5))] == ["run_1", "run_3"]
    assert queue.opening == {("env", "q", "a"): 1_005.0}


def test_an_executor_that_waits_is_handed_what_opens() -> None:
    queue = rated(Rate(1_000.0))
    queue.listening.add("executor_1")
    queue.enqueue([entry(1), entry(2)], 0)
    lanes = [entry(1).lane]
    assert queue.dequeue(0, lanes=lanes)
    assert queue.dequeue(10, lanes=lanes, executor="executor_1", park_until_ms=9_000) is None
    assert queue.open(999) == 1_000.0 and queue.handed == []
    assert queue.open(1_000) is None and queue.handed == [("executor_1", "run_2")]


def test_runs_that_go_on_are_no_starts() -> None:
    queue = rated(Rate(1_000.0))
    frozen, resident = entry(1, version="v1@node"), entry(2, version="resident")
    assert goes_on(frozen.lane) and goes_on(resident.lane) and not goes_on(entry(3).lane)
    queue.enqueue([frozen, resident, entry(3), entry(4)], 0)
    assert len([taken for _ in range(4) if (taken := queue.dequeue(0))]) == 3


def test_a_rate_that_is_taken_away_keeps_nothing_back() -> None:
    queue = rated(Rate(1_000.0))
    queue.enqueue([entry(1), entry(2)], 0)
    assert queue.dequeue(0) and queue.dequeue(0) is None
    queue.set_limits(Limits(), 0)
    assert queue.dequeue(0) and not queue.opening
