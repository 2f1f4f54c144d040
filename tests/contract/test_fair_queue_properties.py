"""The scripts and the model take the same steps and must give the same answers, over thousands of random histories."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections import Counter
from typing import Any

import pytest
import redis

from sojourn.control_plane.domain.due_runs import Entry
from sojourn.control_plane.domain.fair_limits import EnvironmentLimits, KeyLimits, Limits, QueueLimits, Rate
from sojourn.control_plane.domain.fairness import FairQueueModel
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.fair_queue import FairQueue
from sojourn.control_plane.queue.mailbox import Mailbox
from sojourn.control_plane.queue.notices import Notices

HISTORIES = int(os.environ.get("QUEUE_HISTORIES", "1500"))
ORGANIZATION = "org_1"
ENVIRONMENTS = ("env_a", "env_b", "env_c")
QUEUES = ("plain", "with:colon/slash", "*")
KEYS = ("", "k", "*", "{x}|\n", "é" * 3)
VERSIONS = ("current", "v1")
#: Of runs that only go on, which no rate keeps.
OLD_VERSIONS = ("resident", "v1@node")
RATES = (None, None, Rate(50.0), Rate(100 / 3, 2), Rate(400.0, 3))
MACHINES = ("small-1x", "large-1x")
EXECUTORS = ("executor_1", "executor_2", "executor_3")


class History:
    """One random history. Executors listen or do not; the channel's messages are read back and compared."""

    def __init__(self, connection: redis.Redis, seed: int):
        self.random = random.Random(seed)
        self.connection = connection
        self.notices = Notices(connection)
        self.queue = FairQueue(connection, self.notices, lease_ms=500)
        self.model = FairQueueModel(ORGANIZATION, lease_ms=500)
        self.now = 1_000_000
        self.made = 0
        self.pubsub = connection.pubsub(ignore_subscribe_messages=True)
        self.handed: list[tuple[str, str]] = []
        self.queue.begin_rebuild(ORGANIZATION, Limits, self.now)
        self.queue.finish_rebuild(ORGANIZATION, self.now)

    def run(self, steps: int) -> None:
        verbs = [
            (self.enqueue, 8), (self.dequeue, 4), (self.dequeue_lanes, 6), (self.ack, 6), (self.nack, 2),
            (self.release, 1), (self.extend, 1), (self.expire, 1), (self.limits, 1), (self.listen, 1), (self.unpark, 1),
            (self.lanes_that_wait, 1), (self.restore, 1), (self.drop, 2), (self.hold, 1), (self.open, 3),
        ]  # fmt: skip
        for _ in range(steps):
            self.now += self.random.choice((0, 1, 7, 300))
            self.random.choices([verb for verb, _ in verbs], [weight for _, weight in verbs])[0]()
            self.compare()
        self.drain()

    # --- steps

    def enqueue(self) -> None:
        entries = [self.entry() for _ in range(self.random.choice((1, 1, 3)))]
        if self.model.items and self.random.random() < 0.2:
            known = self.random.choice(sorted(self.model.items))
            entries.append(self.entry(known))
        self.queue.enqueue(entries, self.now)
        self.model.enqueue(entries, self.now)

    def entry(self, run: str | None = None) -> Entry:
        if run is None:
            self.made += 1
            run = f"run_{self.made}"
        pick = self.random.choice
        score = self.now - pick((0, 0, 5_000, 100_000))
        versions = (*VERSIONS, *VERSIONS, *VERSIONS, *OLD_VERSIONS)
        return Entry(run, ORGANIZATION, pick(ENVIRONMENTS), pick(versions), pick(MACHINES), pick(QUEUES), pick(KEYS), score)

    def dequeue(self) -> None:
        skip = [self.lane() for _ in range(self.random.choice((0, 0, 2)))]
        mine = self.queue.dequeue(ORGANIZATION, self.now, skip_lanes=set(skip))
        assert mine == self.model.dequeue(self.now, skip_lanes=set(skip))

    def dequeue_lanes(self) -> None:
        environment, machine = self.random.choice(ENVIRONMENTS), self.random.choice(MACHINES)
        lanes = [f"{environment}|{version}|{machine}" for version in VERSIONS[: self.random.choice((1, 1, 2, 2, 0))]]
        executor, until = self.random.choice(EXECUTORS), self.now + self.random.choice((5, 1_000))
        done = self.random.choice(sorted(self.model.items)) if self.model.items and self.random.random() < 0.5 else None
        if self.random.random() < 0.5:
            poll = self.random.choice(("poll_1", "poll_2"))
            wish: dict[str, Any] = {"done": done, "lanes": lanes, "executor": executor}
            wish |= {"park_until_ms": until, "poll": poll}
            assert self.queue.next(ORGANIZATION, self.now, **wish) == self.model.next(self.now, **wish)
        else:
            mine = self.queue.dequeue(ORGANIZATION, self.now, lanes=lanes, executor=executor, park_until_ms=until)
            assert mine == self.model.dequeue(self.now, lanes=lanes, executor=executor, park_until_ms=until)

    def ack(self) -> None:
        run = self.any_run()
        self.queue.ack(ORGANIZATION, run, self.now)
        self.model.ack(run, self.now)

    def nack(self) -> None:
        run = self.any_run()
        score, seen = self.random.choice((None, self.now - 3)), self.random.choice((None, self.seen(run)))
        self.queue.nack(ORGANIZATION, run, self.now, score, seen=seen)
        self.model.nack(run, self.now, score, seen=seen)

    def drop(self) -> None:
        run = self.any_run()
        seen = self.seen(run)
        self.queue.drop(ORGANIZATION, run, self.now, seen)
        self.model.drop(run, self.now, seen)

    def seen(self, run: str) -> float | None:
        return self.random.choice((None, self.model.inflight.get(run), float(self.now + 500), 1.0))

    def release(self) -> None:
        if self.model.inflight:
            run = self.random.choice(sorted(self.model.inflight))
            self.queue.release(ORGANIZATION, run, self.now)
            self.model.release(run, self.now)

    def extend(self) -> None:
        runs = [self.any_run(), self.any_run()]
        self.queue.extend(ORGANIZATION, runs, self.now)
        self.model.extend(runs, self.now)

    def expire(self) -> None:
        limit = self.random.choice((1, 10))
        assert self.queue.expire(ORGANIZATION, self.now, limit) == self.model.expire(self.now, limit)

    def limits(self) -> None:
        pick = self.random.choice
        limits = Limits(
            concurrency=pick((None, 1, 4)),
            environments={
                name: EnvironmentLimits(pick((1, 2, 5)), pick((1.0, 1.5)), pick((1.0, 2.0)), pick((False, False, True)))
                for name in ENVIRONMENTS[: pick((0, 2, 3))]
            },
            queues={
                (pick(ENVIRONMENTS), name): QueueLimits(
                    pick((None, 0, 1, 3)),
                    pick((1.0, 3.0)),
                    pick((False, False, True)),
                    pick(RATES),
                    pick(RATES),
                    {key: KeyLimits(pick((None, 0, 1, 2)), pick(RATES)) for key in KEYS[1 : pick((1, 2, 5))]},
                )
                for name in QUEUES[: pick((0, 1, 3))]
            },
        )
        self.queue.set_limits(ORGANIZATION, lambda: limits, self.now)
        self.model.set_limits(limits, self.now)

    def open(self) -> None:
        assert self.queue.open_rates(ORGANIZATION, self.now) == self.model.open(self.now)

    def listen(self) -> None:
        executor = self.random.choice(EXECUTORS)
        channel = keys.executor_channel(ORGANIZATION, executor)
        if executor in self.model.listening:
            self.model.listening.discard(executor)
            self.pubsub.unsubscribe(channel)
        else:
            self.model.listening.add(executor)
            self.pubsub.subscribe(channel)
        # Both sides know only once Redis says so.
        while self.connection.pubsub_numsub(channel)[0][1] != (executor in self.model.listening):
            self.pubsub.get_message(timeout=0.01)

    def unpark(self) -> None:
        executor = self.random.choice(EXECUTORS)
        poll = self.random.choice(("", "poll_1", "poll_2"))
        self.queue.unpark(ORGANIZATION, executor, poll)
        self.model.unpark(executor, poll)

    def lanes_that_wait(self) -> None:
        assert self.queue.waiting_lanes(ORGANIZATION) == self.model.waiting_lanes()

    def restore(self) -> None:
        entries = [self.entry() for _ in range(self.random.choice((1, 4)))]
        self.queue.restore(ORGANIZATION, waiting=entries, now_ms=self.now)
        self.model.restore(entries, self.now)

    def hold(self) -> None:
        """Runs that hold slots in the store: new to the queue, waiting in it, or in flight already."""
        known = [run for run in sorted(self.model.items) if self.random.random() < 0.2]
        entries = [Entry(run, ORGANIZATION, *self.place(run)) for run in known] + [self.entry()]
        self.queue.restore(ORGANIZATION, in_flight=entries, now_ms=self.now)
        self.model.restore((), self.now, in_flight=entries)

    def place(self, run: str) -> tuple[str, str, str, str, str, int]:
        environment, lane, queue, key, score = self.model.items[run]
        _, version, machine = lane.split("|")
        return environment, version, machine, queue, key, score

    # --- checks

    def compare(self) -> None:
        self.read_mail()
        audit = self.queue.audit(ORGANIZATION)
        waiting = {run for leaf in self.model.leaves.values() for run in leaf}
        assert audit.waiting == waiting
        assert audit.inflight == set(self.model.inflight)
        assert audit.slots == {name: frozenset(runs) for name, runs in self.model.slots.items()}
        assert self.handed == self.model.handed
        assert not waiting & set(self.model.inflight)
        self.compare_rates()
        self.compare_counts()

    def compare_counts(self) -> None:
        expected: Counter[str] = Counter()
        for (lane, queue, _), leaf in self.model.leaves.items():
            expected[keys.within(lane.split("|")[0], queue)] += len(leaf)
        counted = self.connection.hgetall(keys.prefix(ORGANIZATION) + "waiting")
        assert {name.decode(): int(count) for name, count in counted.items()} == +expected

    def compare_rates(self) -> None:
        prefix = keys.prefix(ORGANIZATION)
        paces = {name.decode(): at for name, at in self.connection.zrange(prefix + "paces", 0, -1, withscores=True)}
        expected = {pace_name(rate, *name): at for (rate, name), at in self.model.paces.items() if at > self.now}
        assert {name: at for name, at in paces.items() if at > self.now} == expected
        looks = self.connection.zrange(prefix + "opening", 0, -1, withscores=True)
        assert {tuple(json.loads(place)): at for place, at in looks} == self.model.opening

    def read_mail(self) -> None:
        while len(self.handed) < len(self.model.handed):
            message = self.pubsub.get_message(timeout=1.0)
            if message and message["type"] == "message":
                executor = message["channel"].decode().rsplit(":", 1)[1]
                self.handed.append((executor, json.loads(message["data"])[0]))

    def drain(self) -> None:
        """Everything that is left can be taken once no limit stands in the way; then nothing is left behind."""
        self.model.listening.clear()
        self.pubsub.unsubscribe()
        for executor in EXECUTORS:
            channel = keys.executor_channel(ORGANIZATION, executor)
            while self.connection.pubsub_numsub(channel)[0][1]:
                self.pubsub.get_message(timeout=0.01)
            self.queue.unpark(ORGANIZATION, executor)
            self.model.unpark(executor)
        self.queue.set_limits(ORGANIZATION, Limits, self.now)
        self.model.set_limits(Limits(), self.now)
        left = len({run for leaf in self.model.leaves.values() for run in leaf})
        for _ in range(left):
            taken = self.queue.dequeue(ORGANIZATION, self.now)
            assert taken is not None
            assert taken == self.model.dequeue(self.now)
        assert self.queue.dequeue(ORGANIZATION, self.now) is None
        for run in sorted(self.model.items):
            self.queue.ack(ORGANIZATION, run, self.now)
        left_over = {name.decode() for name in self.connection.keys(keys.prefix(ORGANIZATION).replace("{", "[{]") + "*")}
        lasting = {keys.prefix(ORGANIZATION) + name for name in ("ready", "turns")}
        # Starts are remembered until their rate would let others follow; then all of it ends by itself.
        paces = keys.prefix(ORGANIZATION) + "paces"
        assert left_over - {paces} == lasting
        assert self.connection.pttl(paces) != -1
        self.pubsub.close()
        self.notices.close()

    def any_run(self) -> str:
        return self.random.choice([*sorted(self.model.items), "run_unknown"])

    def lane(self) -> str:
        return "|".join((self.random.choice(ENVIRONMENTS), self.random.choice(VERSIONS), self.random.choice(MACHINES)))


def pace_name(rate: Rate, kind: str, environment: str, queue: str, *key: str) -> str:
    return "/".join((f"{rate.interval_ms!r} {rate.burst} {kind[0]}:{keys.within(environment, queue)}", *key))


@pytest.mark.parametrize("block", range(10))
def test_scripts_and_model_agree(redis_connection: redis.Redis, block: int):
    for seed in range(block * HISTORIES // 10, (block + 1) * HISTORIES // 10):
        redis_connection.flushdb()
        history = History(redis_connection, seed)
        try:
            history.run(steps=random.Random(seed).choice((10, 40, 80)))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


def test_a_handed_run_is_in_the_mailbox(redis_connection: redis.Redis):
    notices = Notices(redis_connection)
    queue, mailbox = FairQueue(redis_connection, notices), Mailbox(redis_connection, notices)
    queue.begin_rebuild(ORGANIZATION, Limits, 0)
    queue.finish_rebuild(ORGANIZATION, 0)
    with contextlib.closing(mailbox), mailbox.open_executor(ORGANIZATION, "executor_1") as box:
        lanes = ["env_a|current|small-1x"]
        assert queue.dequeue(ORGANIZATION, 10, lanes=lanes, executor="executor_1", park_until_ms=99) is None
        entry = Entry("run_1", ORGANIZATION, "env_a", "current", "small-1x", "q", "", 5)
        assert queue.enqueue([entry], 11) == ["executor_1"]
        assert json.loads(box.get(60) or "")[0] == "run_1"
