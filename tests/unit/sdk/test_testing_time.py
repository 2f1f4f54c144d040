"""`sojourn.testing`: schedules that fire, debounce keys, queues that keep runs; by a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn import Debounce, Queue, Rate, Schedule, ScheduledPayload, queues, runs, schedules, task, testing
from sojourn.sdk import testing_platform
from sojourn.sdk.errors import ConfigurationError, UnprocessableError
from sojourn.sdk.testing_waits import NobodyCompletesError

START = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)
seen: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


def note(**options: Any) -> Any:
    @task(id="note", **options)
    def work(payload: Any) -> Any:
        seen.append(payload)
        return payload

    return work


def nightly(**options: Any) -> Any:
    @task(id="nightly", schedule=Schedule("30 2 * * *", timezone="Europe/Berlin", **options))
    def work(payload: ScheduledPayload) -> str:
        seen.append(payload)
        return payload["timestamp"].isoformat()

    return work


# --- schedules


def test_a_declared_schedule_fires_as_time_passes() -> None:
    nightly()
    with testing.Platform(now=START) as platform:
        [declared] = schedules.list()
        assert (declared.type, declared.task, declared.timezone) == ("DECLARATIVE", "nightly", "Europe/Berlin")
        assert declared.next_run == datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
        assert platform.advance(hours=13) == []
        [first] = platform.advance(hours=1)
        assert platform.runs[first].output == "2026-03-28T01:30:00+00:00"
        [second] = platform.advance(days=1)
        assert platform.runs[second].output == "2026-03-29T01:30:00+00:00", "the clock went forward"
        assert seen[1]["lastTimestamp"] == seen[0]["timestamp"] and len(seen[1]["upcoming"]) == 5
        assert platform.now == START + timedelta(hours=38)
        assert [run.id for run in runs.list(schedule=declared.id)] == [second, first]


def test_a_schedule_that_code_makes_fires_and_can_be_changed() -> None:
    note()
    with testing.Platform(now=START) as platform:
        made = schedules.create("note", "*/15 * * * *", deduplication_key="a", external_id="user-7")
        assert len(platform.advance(hours=1)) == 4
        assert [each["externalId"] for each in seen] == ["user-7"] * 4
        schedules.update(made, "note", "0 0 * * *")
        assert len(platform.advance(hours=24)) == 1
        schedules.deactivate(made)
        assert platform.advance(days=9) == []
        assert schedules.activate(made).next_run == datetime(2026, 4, 7, tzinfo=UTC)
        schedules.delete(made)
        assert platform.advance(days=9) == []


def test_one_tick_is_fired_by_a_call() -> None:
    work = nightly()
    with testing.Platform(now=START) as platform:
        run_id = platform.fire(work)
        assert platform.runs[run_id].output == START.isoformat()
        made = schedules.create("nightly", "0 0 * * *", deduplication_key="a")
        assert platform.fire(made) != run_id and seen[-1]["scheduleId"] == made.id
        with pytest.raises(ConfigurationError, match="no schedule"):
            platform.fire("sched_none")


def test_declared_schedules_are_those_of_development() -> None:
    nightly(environments=["production"])
    with testing.Platform(now=START) as platform:
        assert list(schedules.list()) == [] and platform.advance(days=3) == []


def test_what_cannot_be_changed_or_made() -> None:
    nightly()
    with testing.Platform():
        [declared] = schedules.list()
        with pytest.raises(UnprocessableError, match="declared"):
            schedules.delete(declared)
        for wrong in ({"cron": "* * * * * *"}, {"timezone": "Mars"}, {"task": "none"}):
            wanted = {"task": "nightly", "cron": "0 0 * * *", "deduplication_key": "a"} | wrong
            with pytest.raises(UnprocessableError):
                schedules.create(**wanted)  # type: ignore[arg-type]


def test_time_goes_forward_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    note()
    monkeypatch.setattr(testing_platform, "_MOST_MOMENTS", 50)
    with testing.Platform(now=START) as platform:
        assert platform.advance(to=START) == []
        with pytest.raises(ConfigurationError, match="back"):
            platform.advance(to=START - timedelta(seconds=1))
        nowhere = datetime(2027, 1, 1)  # noqa: DTZ001
        for wrong in (lambda: platform.advance(to=nowhere), lambda: testing.Platform(now=nowhere)):
            with pytest.raises(ConfigurationError, match="time zone"):
                wrong()
        schedules.create("note", "* * * * *", deduplication_key="a")
        with pytest.raises(ConfigurationError, match="advance by less"):
            platform.advance(hours=1)


# --- debounce keys


def test_a_debounced_run_starts_when_its_triggers_have_come_to_rest() -> None:
    work = note()
    with testing.Platform(now=START) as platform:
        for n in range(4):
            work.trigger(n, debounce=Debounce("user-1", "10s"), tags=[f"t{n}"])
            assert platform.advance(seconds=9) == []
        assert len(platform.held) == 1
        [run_id] = platform.advance(seconds=1)
        assert (platform.runs[run_id].output, runs.retrieve(run_id).tags) == (0, ("t0",)), "the first payload"
        assert platform.held == ()


def test_a_trailing_one_has_the_last_payload_and_a_longest_delay_is_kept() -> None:
    work = note()
    with testing.Platform(now=START) as platform:
        wish = Debounce("a", "10s", mode="trailing", max_delay="25s")
        ids = set()
        for n in range(4):
            ids.add(work.trigger(n, debounce=wish, tags=[f"t{n}"]).id)
            platform.advance(seconds=8)
        assert seen == [3] and platform.now == START + timedelta(seconds=32)
        [run_id] = ids
        assert runs.retrieve(run_id).tags == ("t3",)
        other = work.trigger(5, debounce=wish)
        assert other.id != run_id and work.trigger(6, debounce=Debounce("b", "10s")).id != other.id


def test_an_idempotency_key_comes_before_a_debounce_key() -> None:
    work = note()
    with testing.Platform(now=START) as platform:
        first = work.trigger(1, debounce=Debounce("a", "10s"), idempotency_key="once")
        assert work.trigger(2, idempotency_key="once").id == first.id
        platform.advance(minutes=1)
        assert work.trigger(3, debounce=Debounce("a", "10s"), idempotency_key="once").id == first.id
        assert seen == [1]


# --- queues


def test_a_limit_keeps_what_a_run_triggers_until_that_is_over() -> None:
    order: list[str] = []

    @task(id="inner", queue=Queue("narrow", concurrency_limit=1))
    def inner(payload: Any) -> None:
        order.append("inner")

    @task(id="outer", queue=Queue("narrow", concurrency_limit=1))
    def outer(payload: str) -> Any:
        result = inner.trigger_and_wait().ok if payload == "wait" else inner.trigger().id
        order.append("outer")
        return result

    with testing.Platform() as platform:
        outer.trigger("go on")
        assert order == ["outer", "inner"] and platform.held == ()
        order.clear()
        assert outer.trigger_and_wait("wait").output is True
        assert order == ["inner", "outer"], "who waits gives its place up"


def test_a_paused_queue_keeps_its_runs_in_order() -> None:
    work = note(queue=Queue("mail"))
    with testing.Platform() as platform:
        queues.pause("mail")
        for n in range(3):
            work.trigger(n)
        state = queues.retrieve(Queue("mail"))
        assert (state.queued, state.running, state.paused, len(platform.held)) == (3, 0, True, 3)
        queues.resume("mail")
        assert seen == [0, 1, 2] and queues.retrieve("mail").queued == 0


def test_a_run_that_waits_for_what_a_queue_keeps_ends_the_test() -> None:
    work = note(queue=Queue("mail"))

    @task(id="parent")
    def parent(payload: Any) -> Any:
        return work.trigger_and_wait(1).unwrap()

    with testing.Platform():
        queues.pause("mail")
        with pytest.raises(NobodyCompletesError, match="run_test2"):
            parent.trigger()


def test_a_rate_lets_runs_start_as_time_passes() -> None:
    work = note(queue=Queue("calls", rate=Rate(2, per="1m")))
    with testing.Platform(now=START) as platform:
        handles = [work.trigger(n) for n in range(4)]
        assert seen == [0]
        platform.advance(seconds=30)
        assert seen == [0, 1]
        assert handles[2].result().output == 2 and platform.now == START + timedelta(seconds=60)
        queues.set_rate("calls", 100, "1s", concurrency_key="k")
        assert work.trigger(9, concurrency_key="k").retrieve().status == "QUEUED", "the queue's rate holds beside it"


def test_each_key_has_its_own_rate_and_limit() -> None:
    work = note(queue=Queue("calls", 5))
    with testing.Platform(now=START):
        queues.set_rate("calls", 1, "1h", per_key=True)
        queues.set_rate("calls", 2, "1h", burst=2, concurrency_key="vip")
        for key in ("vip", "vip", "vip", "a", "a", "b"):
            work.trigger(key, concurrency_key=key)
        assert seen == ["vip", "vip", "a", "b"]
        state = queues.retrieve("calls")
        assert (state.concurrency_limit, state.base_limit, state.keys[0].rate["limit"]) == (5, 5, 2)


def test_a_batch_is_over_when_what_is_kept_is() -> None:
    work = note(queue=Queue("mail"))
    with testing.Platform():
        queues.pause("mail")
        handle = work.batch_trigger([1, 2])
        state = handle.retrieve()
        assert (state.status, state.finished_count, handle.results()) == ("PROCESSING", 0, [])
        queues.resume("mail")
        assert handle.retrieve().status == "COMPLETED" and [each.output for each in handle.results()] == [1, 2]
