"""What the fair queue promises, case by case: one body, run against the scripts in a real Redis and against the model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis

from sojourn.control_plane.domain.due_runs import Entry, Taken
from sojourn.control_plane.domain.fair_limits import EnvironmentLimits, KeyLimits, Limits, QueueLimits, Rate
from sojourn.control_plane.domain.fair_node import PATIENCE
from sojourn.control_plane.domain.fairness import FairQueueModel
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.fair_queue import FairQueue
from sojourn.control_plane.queue.notices import Notice, Notices

ORGANIZATION = "org_1"
NOW = 1_000


class Scripts:
    """The queue over Redis, with somebody who listens for the executors named."""

    def __init__(self, connection: redis.Redis):
        self._connection = connection
        self._notices = Notices(connection)
        self._queue = FairQueue(connection, self._notices)
        self._pubsub = connection.pubsub(ignore_subscribe_messages=True)
        self._queue.begin_rebuild(ORGANIZATION, Limits, NOW)
        self._queue.finish_rebuild(ORGANIZATION, NOW)

    def listen(self, *executors: str) -> None:
        for executor in executors:
            channel = keys.executor_channel(ORGANIZATION, executor)
            self._pubsub.subscribe(channel)
            while not self._connection.pubsub_numsub(channel)[0][1]:
                self._pubsub.get_message(timeout=0.01)

    def enqueue(self, *entries: Entry) -> None:
        self._queue.enqueue(entries, NOW)

    def dequeue(self, **options: Any) -> Taken | None:
        return self._queue.dequeue(ORGANIZATION, NOW, **options)

    def next(self, done: str | None, lanes: Sequence[str], executor: str) -> Taken | None:
        return self._queue.next(
            ORGANIZATION, NOW, done=done, lanes=lanes, executor=executor, park_until_ms=NOW + 10 + int(executor[-1])
        )

    def ack(self, run: str) -> None:
        self._queue.ack(ORGANIZATION, run, NOW)

    def nack(self, run: str, score: int | None = None) -> None:
        self._queue.nack(ORGANIZATION, run, NOW, score)

    def limit(self, limits: Limits) -> None:
        self._queue.set_limits(ORGANIZATION, lambda: limits, NOW)

    def restore(self, *waiting: Entry) -> None:
        self._queue.restore(ORGANIZATION, waiting=waiting, now_ms=NOW)

    def waiting_lanes(self) -> list[str]:
        return self._queue.waiting_lanes(ORGANIZATION)

    def handed(self) -> dict[str, str]:
        """Executor -> the run that it was handed, since the last look. Delivery is in order: a last word ends it."""
        found: dict[str, str] = {}
        self._connection.publish(keys.executor_channel(ORGANIZATION, "executor_0"), "[]")
        for _ in range(20):
            message = self._pubsub.get_message(timeout=1)
            if message is None:  # the answer to a subscription
                continue
            if message["data"] == b"[]":
                return found
            found[message["channel"].decode().rsplit(":", 1)[1]] = json.loads(message["data"])[0]
        raise AssertionError("Redis has lost a message")

    def close(self) -> None:
        self._pubsub.close()
        self._notices.close()


class Model:
    """The specification."""

    def __init__(self) -> None:
        self._model = FairQueueModel(ORGANIZATION)

    def listen(self, *executors: str) -> None:
        self._model.listening.update(executors)

    def enqueue(self, *entries: Entry) -> None:
        self._model.enqueue(entries, NOW)

    def dequeue(self, **options: Any) -> Taken | None:
        return self._model.dequeue(NOW, **options)

    def next(self, done: str | None, lanes: Sequence[str], executor: str) -> Taken | None:
        return self._model.next(NOW, done=done, lanes=lanes, executor=executor, park_until_ms=NOW + 10 + int(executor[-1]))

    def ack(self, run: str) -> None:
        self._model.ack(run, NOW)

    def nack(self, run: str, score: int | None = None) -> None:
        self._model.nack(run, NOW, score)

    def limit(self, limits: Limits) -> None:
        self._model.set_limits(limits, NOW)

    def restore(self, *waiting: Entry) -> None:
        self._model.restore(waiting, NOW)

    def waiting_lanes(self) -> list[str]:
        return self._model.waiting_lanes()

    def handed(self) -> dict[str, str]:
        found = dict(self._model.handed)
        self._model.handed.clear()
        return found

    def close(self) -> None:
        return


@pytest.fixture(params=["scripts", "model"])
def queue(request: pytest.FixtureRequest) -> Iterator[Scripts | Model]:
    made = Scripts(request.getfixturevalue("redis_connection")) if request.param == "scripts" else Model()
    made.listen("executor_0")
    yield made
    made.close()


def entry(
    run: str, environment: str = "env_a", queue: str = "q", key: str = "", score: int = 0, version: str = "current"
) -> Entry:
    return Entry(run, ORGANIZATION, environment, version, "small-1x", queue, key, score)


def drained(queue: Scripts | Model) -> list[Taken]:
    """All that can be taken now."""
    found = []
    while (taken := queue.dequeue()) is not None:
        found.append(taken)
    return found


LANE, LANE_B = entry("").lane, entry("", "env_b").lane


def test_no_lanes_take_nothing(queue: Scripts | Model):
    queue.enqueue(entry("run_1"))
    assert queue.dequeue(lanes=[], executor="executor_1", park_until_ms=NOW + 5) is None
    assert queue.next(None, [], "executor_1") is None
    assert queue.dequeue().run == "run_1"


def test_no_lane_waits_for_a_place_while_its_organization_is_full(queue: Scripts | Model):
    queue.limit(Limits(concurrency=1))
    queue.enqueue(entry("run_1"), entry("run_2", "env_b"))
    assert queue.waiting_lanes() == [LANE, LANE_B]
    queue.dequeue()
    assert queue.waiting_lanes() == []


def test_a_raised_limit_lets_everyone_go_who_waits(queue: Scripts | Model):
    queue.listen("executor_1", "executor_2", "executor_3")
    queue.limit(Limits(environments={"env_a": EnvironmentLimits(concurrency=0)}))
    for executor in ("executor_1", "executor_2", "executor_3"):
        assert queue.next(None, [LANE], executor) is None
    queue.enqueue(*(entry(f"run_{n}", score=n) for n in range(1, 5)))
    assert queue.handed() == {}
    queue.limit(Limits(environments={"env_a": EnvironmentLimits(concurrency=3)}))
    assert sorted(queue.handed().values()) == ["run_1", "run_2", "run_3"]


def test_what_is_restored_goes_to_executors_that_wait(queue: Scripts | Model):
    queue.listen("executor_1", "executor_2")
    for executor in ("executor_1", "executor_2"):
        queue.next(None, [LANE], executor)
    queue.restore(entry("run_1", score=1), entry("run_2", score=2), entry("run_3", score=3))
    assert sorted(queue.handed().values()) == ["run_1", "run_2"]


def test_an_executor_that_nobody_listens_for_does_not_keep_the_next_from_its_run(queue: Scripts | Model):
    queue.listen("executor_1")
    for executor in ("executor_1", "executor_2", "executor_3"):  # the last one waits longest and is asked first
        queue.next(None, [LANE], executor)
    queue.enqueue(entry("run_1"))
    assert queue.handed() == {"executor_1": "run_1"}


def test_only_a_run_in_flight_is_given_back(queue: Scripts | Model):
    queue.enqueue(entry("run_1", score=1), entry("run_2", score=2))
    queue.nack("run_1", score=9)
    assert queue.dequeue().run == "run_1"
    queue.nack("run_1", score=9)
    assert queue.dequeue().run == "run_2"


def test_a_run_given_back_frees_a_full_organization(queue: Scripts | Model):
    queue.listen("executor_1")
    queue.limit(Limits(concurrency=1))
    queue.enqueue(entry("run_1"))
    queue.dequeue()
    assert queue.next(None, [LANE_B], "executor_1") is None
    queue.enqueue(entry("run_2", "env_b"))
    queue.limit(Limits(concurrency=1, environments={"env_a": EnvironmentLimits(concurrency=0)}))
    queue.nack("run_1")
    assert queue.handed() == {"executor_1": "run_2"}


def test_the_executor_that_frees_a_slot_has_it_first(queue: Scripts | Model):
    queue.listen("executor_1", "executor_2")
    queue.limit(Limits(queues={("env_a", "q"): QueueLimits(concurrency=1)}))
    queue.enqueue(entry("run_1", score=1))
    assert queue.next(None, [LANE], "executor_1").run == "run_1"
    assert queue.next(None, [LANE], "executor_2") is None
    queue.enqueue(entry("run_2", score=2))
    assert queue.next("run_1", [LANE], "executor_1").run == "run_2"
    assert queue.handed() == {}


def test_what_an_executor_cannot_use_goes_to_another(queue: Scripts | Model):
    queue.listen("executor_1", "executor_2")
    queue.limit(Limits(concurrency=1))
    queue.enqueue(entry("run_1"))
    queue.next(None, [LANE], "executor_1")
    queue.next(None, [LANE_B], "executor_2")
    queue.enqueue(entry("run_2", "env_b"))
    assert queue.next("run_1", [LANE], "executor_1") is None
    assert queue.handed() == {"executor_2": "run_2"}


def test_nobody_saves_up_turns_without_end(queue: Scripts | Model):
    """env_b's runs wait for executors of their own for long; when any executor will do, it has some in advance."""
    count = 4 * PATIENCE
    queue.enqueue(*(entry(f"a_{n}", score=n) for n in range(2 * count)), *(entry(f"b_{n}", "env_b") for n in range(count)))
    for _ in range(count):
        queue.ack(queue.dequeue(lanes=[LANE]).run)
    served = Counter(queue.dequeue().environment for _ in range(3 * PATIENCE))
    assert abs(served["env_b"] - 2 * PATIENCE) <= 1


def test_who_comes_later_stands_with_those_that_had_the_least(queue: Scripts | Model):
    """An executor has served env_a twenty times in a row: env_b, which waited, and env_c, which comes now, are first."""
    queue.enqueue(*(entry(f"a_{n}", score=n) for n in range(60)), *(entry(f"b_{n}", "env_b", score=n) for n in range(40)))
    for _ in range(20):
        queue.ack(queue.dequeue(lanes=[LANE]).run)
    queue.enqueue(*(entry(f"c_{n}", "env_c", score=n) for n in range(40)))
    assert Counter(queue.dequeue().environment for _ in range(20)) == {"env_b": 10, "env_c": 10}


@pytest.mark.parametrize("weight", [10, 0.1])
def test_so_it_is_whatever_weights_are(queue: Scripts | Model, weight: float):
    """Runs are what is counted: at most PATIENCE of them in advance, and a turn of twenty is none too many."""
    queue.limit(Limits(environments={name: EnvironmentLimits(weight=weight) for name in ("env_a", "env_b", "env_c")}))
    count = 2 * PATIENCE
    queue.enqueue(*(entry(f"a_{n}", score=n) for n in range(3 * count)), *(entry(f"b_{n}", "env_b") for n in range(count)))
    for _ in range(20):
        queue.ack(queue.dequeue(lanes=[LANE]).run)
    queue.enqueue(*(entry(f"c_{n}", "env_c") for n in range(count)))
    assert Counter(queue.dequeue().environment for _ in range(20)) == {"env_b": 10, "env_c": 10}
    for _ in range(2 * count):
        queue.ack(queue.dequeue(lanes=[LANE]).run)
    served = Counter(queue.dequeue().environment for _ in range(2 * PATIENCE))
    assert max(served["env_b"], served["env_c"]) <= PATIENCE + 1


def test_a_key_may_have_a_limit_of_its_own(queue: Scripts | Model):
    """Above what its queue gives each key, or below; the other keys have the queue's."""
    limits = {"large": KeyLimits(3), "small": KeyLimits(1)}
    queue.limit(Limits(queues={("env_a", "q"): QueueLimits(2, keys=limits)}))
    for key in ("large", "small", "other", ""):
        queue.enqueue(*(entry(f"{key}_{n}", key=key, score=n) for n in range(4)))
    assert Counter(taken.key for taken in drained(queue)) == {"large": 3, "small": 1, "other": 2, "": 2}
    queue.ack("small_0")
    assert [taken.run for taken in drained(queue)] == ["small_1"]


def test_a_key_is_one_queues_and_one_environments(queue: Scripts | Model):
    queue.limit(Limits(queues={("env_a", "q"): QueueLimits(keys={"k": KeyLimits(1)})}))
    queue.enqueue(
        *(entry(f"{env}_{name}_{n}", env, name, "k") for env in ("env_a", "env_b") for name in "qr" for n in "12")
    )
    assert Counter((taken.environment, taken.queue) for taken in drained(queue)) == {
        ("env_a", "q"): 1, ("env_a", "r"): 2, ("env_b", "q"): 2, ("env_b", "r"): 2,
    }  # fmt: skip


@pytest.mark.parametrize("held", [QueueLimits(paused=True), QueueLimits(0)])
def test_what_holds_back_all_of_a_queue_holds_back_such_keys(queue: Scripts | Model, held: QueueLimits):
    queue.limit(Limits(queues={("env_a", "q"): replace(held, keys={"k": KeyLimits(5)})}))
    queue.enqueue(entry("run_1", key="k"), entry("run_2"))
    assert drained(queue) == []


def test_a_keys_limit_is_within_its_environments(queue: Scripts | Model):
    queue.limit(
        Limits(
            environments={"env_a": EnvironmentLimits(2, burst=2)},
            queues={("env_a", "q"): QueueLimits(1, keys={"k": KeyLimits(9)})},
        )
    )
    queue.enqueue(*(entry(f"run_{n}", key="k", score=n) for n in range(5)))
    assert len(drained(queue)) == 2


def test_a_lower_limit_of_a_key_stops_nothing_and_a_raised_one_hands_over(queue: Scripts | Model):
    queue.listen("executor_1", "executor_2")
    queue.enqueue(*(entry(f"run_{n}", key="k", score=n) for n in range(6)))
    for _ in range(3):
        queue.dequeue()

    def limit(of_key: int) -> None:
        queue.limit(Limits(queues={("env_a", "q"): QueueLimits(keys={"k": KeyLimits(of_key)})}))

    limit(1)
    for executor in ("executor_1", "executor_2"):
        assert queue.next(None, [LANE], executor) is None
    queue.ack("run_0")
    queue.ack("run_1")
    assert queue.handed() == {}, "one is still there"
    limit(2)
    assert list(queue.handed().values()) == ["run_3"]
    queue.limit(Limits())
    assert list(queue.handed().values()) == ["run_4"]


def test_a_key_may_have_a_rate_of_its_own(queue: Scripts | Model):
    hour = 3_600_000.0
    own = {"fast": KeyLimits(rate=Rate(hour, 3)), "same": KeyLimits(5)}
    queue.limit(Limits(queues={("env_a", "q"): QueueLimits(key_rate=Rate(hour), keys=own)}))
    for key in ("fast", "same", "other"):
        queue.enqueue(*(entry(f"{key}_{n}", key=key, score=n) for n in range(4)))
    assert Counter(taken.key for taken in drained(queue)) == {"fast": 3, "same": 1, "other": 1}


def test_another_rate_of_one_key_lets_no_other_begin_anew(queue: Scripts | Model):
    hour = 3_600_000.0

    def limit(**of_keys: KeyLimits) -> None:
        queue.limit(Limits(queues={("env_a", "q"): QueueLimits(key_rate=Rate(hour), keys=of_keys)}))

    limit()
    for key in "ab":
        queue.enqueue(*(entry(f"{key}_{n}", key=key, score=n) for n in range(9)))
    assert len(drained(queue)) == 2
    limit(a=KeyLimits(rate=Rate(hour, 2)))
    assert [taken.run for taken in drained(queue)] == ["a_1", "a_2"]
    limit(a=KeyLimits(rate=Rate(hour, 2)), b=KeyLimits(1))
    assert drained(queue) == []
    # The rate that it had before knows of its start.
    limit()
    assert drained(queue) == []


def test_organizations_that_come_later_stand_with_those_that_had_the_least(redis_connection: redis.Redis):
    """The same between organizations: org_1 is served by executors of its own, org_2 waits, org_3 comes late."""
    notices = Notices(redis_connection)
    queue = FairQueue(redis_connection, notices)

    def come(name: str) -> None:
        queue.begin_rebuild(name, Limits, NOW)
        queue.finish_rebuild(name, NOW)
        runs = [Entry(f"{name}_{n}", name, "env", "current", "small-1x", "q", "", n) for n in range(60)]
        queue.enqueue(runs, NOW)
        notices.send_now(Notice(due=name))

    come("org_1")
    come("org_2")
    for _ in range(20):
        notices.send_now(Notice(taken="org_1"))
    come("org_3")
    served: Counter[str] = Counter()
    for _ in range(20):
        name = queue.choose(NOW)
        assert name and queue.dequeue(name, NOW)
        served[name] += 1
    notices.close()
    assert served == {"org_2": 10, "org_3": 10}
