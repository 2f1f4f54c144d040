"""`sojourn.testing`: runs that are put off, freed keys, what keeps a run, and many runs cancelled or replayed at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn import Debounce, Queue, Rate, bulk_actions, queues, runs, task, tasks, testing
from sojourn.sdk.errors import ApiError, NotFoundError

START = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)
outbox = Queue("outbox", concurrency_limit=2, rate=Rate(5, "1m", burst=5))


@pytest.fixture
def platform() -> Iterator[testing.Platform]:
    @task(id="hello")
    def hello(payload: Any) -> Any:
        if payload == "fails":
            raise ValueError(payload)
        return payload

    @task(id="mail", queue=outbox)
    def mail(payload: Any) -> Any:
        return payload

    with testing.Platform(now=START, delays=True) as entered:
        yield entered


def trigger(payload: Any = None, task_id: str = "hello", **options: Any) -> str:
    return tasks.trigger(task_id, payload, **options).id


def code_of(call: Any, *given: Any, **named: Any) -> tuple[int | None, str | None]:
    with pytest.raises(ApiError) as caught:
        call(*given, **named)
    return caught.value.status, caught.value.code


# --- dates


def test_a_delayed_run_begins_when_time_has_passed(platform: testing.Platform) -> None:
    run = trigger(1, delay="1h")
    assert platform.held == (run,) and runs.retrieve(run).status == "DELAYED"
    assert platform.advance(minutes=59) == [] and platform.advance(minutes=1) == [run]
    assert runs.retrieve(run).started_at == START + timedelta(hours=1)
    assert platform.runs[trigger(2, delay=START)].output == 2, "a date that is past is no delay"
    assert tasks.trigger("hello", 3, delay="2h").result().output == 3, "whoever waits lets time pass"
    assert platform.now == START + timedelta(hours=3)


def test_delays_are_noted_alone_unless_told_otherwise(platform: testing.Platform) -> None:
    with testing.Platform(now=START) as other:
        run = trigger(1, delay="1h")
        assert other.runs[run].output == 1 and other.now == START
        assert code_of(runs.reschedule, run, "2h") == (400, "RUN_NOT_DELAYED")


def test_a_run_is_put_off_and_called_forward(platform: testing.Platform) -> None:
    run, other = trigger(1, delay="1h"), trigger(2, debounce=Debounce("account", "1h"))
    moved = runs.reschedule(run, "3h")
    assert (moved.status, moved.payload) == ("DELAYED", 1)
    assert moved.raw["delayedUntil"] == (START + timedelta(hours=3)).isoformat()
    runs.reschedule(other, START + timedelta(minutes=10))
    assert platform.advance(minutes=10) == [other]
    assert runs.reschedule(run, START).status == "COMPLETED" and platform.runs[run].output == 1
    assert code_of(runs.reschedule, run, "1h") == (400, "RUN_NOT_DELAYED")
    assert code_of(runs.reschedule, trigger(1, delay="1h"), "soon") == (400, "BODY_INVALID")
    assert code_of(runs.reschedule, "run_x", "1h") == (404, "RUN_NOT_FOUND")


# --- keys


def test_a_key_that_was_reset_leads_to_a_new_run(platform: testing.Platform) -> None:
    first = trigger(1, idempotency_key="a/b")
    assert trigger(2, idempotency_key="a/b") == first
    runs.reset_idempotency_key("hello", "a/b")
    second = trigger(3, idempotency_key="a/b")
    assert second != first and platform.runs[second].output == 3
    trigger("fails", idempotency_key="freed")
    for task_id, key in (("mail", "a/b"), ("hello", "other"), ("hello", "freed")):
        assert code_of(runs.reset_idempotency_key, task_id, key) == (404, "IDEMPOTENCY_KEY_NOT_FOUND")
    runs.reset_idempotency_key("hello", "a/b")
    with pytest.raises(NotFoundError):
        runs.reset_idempotency_key("hello", "a/b")


def test_a_key_that_code_of_a_task_wrote_is_of_its_run(platform: testing.Platform) -> None:
    seen: list[str] = []

    @task(id="parent")
    def parent(payload: Any) -> None:
        for _ in range(2):
            seen.append(trigger(payload, idempotency_key="mine"))
        runs.reset_idempotency_key("hello", "mine")
        seen.append(trigger(payload, idempotency_key="mine"))

    assert parent.trigger(1).result().ok
    assert seen[0] == seen[1] != seen[2]


# --- why


def test_what_keeps_a_run(platform: testing.Platform) -> None:
    assert runs.why(trigger(1)) == []
    [delayed] = runs.why(trigger(1, delay="1h"))
    assert (delayed["reason"], delayed["until"]) == ("DELAYED", (START + timedelta(hours=1)).isoformat())
    queues.pause(outbox)
    held = trigger(1, "mail")
    [paused] = runs.why(held)
    assert (paused["reason"], paused["scope"]) == ("PAUSED", "queue") and "outbox" in paused["message"]
    queues.override_limit(outbox, 0)
    assert [(each["reason"], each.get("limit")) for each in runs.why(held)] == [("PAUSED", None), ("LIMIT_REACHED", 0)]
    queues.reset_limit(outbox)
    queues.resume(outbox)
    assert runs.why(held) == [] and platform.runs[held].output == 1
    assert code_of(runs.why, "run_x") == (404, "RUN_NOT_FOUND")


def test_who_is_in_the_way_and_until_when(platform: testing.Platform) -> None:
    seen: list[Any] = []

    @task(id="alone", queue=Queue("alone", concurrency_limit=1))
    def alone(payload: str) -> None:
        if payload == "first":
            seen.extend(runs.why(trigger("second", "alone", concurrency_key="k")))
            seen.extend(runs.why(trigger("third", "alone")))

    first = alone.trigger("first").id
    [reached] = seen
    assert (reached["reason"], reached["scope"], reached["limit"], reached["held"], reached["heldBy"]) == (
        "LIMIT_REACHED", "queue", 1, 1, [first],
    )  # fmt: skip
    for n in range(5):
        trigger(n, "mail")
    [rate] = runs.why(trigger(5, "mail"))
    assert (rate["reason"], rate["until"]) == ("RATE_REACHED", (START + timedelta(seconds=12)).isoformat())
    assert platform.advance(seconds=12)


# --- many runs


def test_many_runs_are_cancelled(platform: testing.Platform) -> None:
    held = [trigger(n, delay="1h", tags=[f"t{n}"]) for n in range(4)]
    over = trigger(9, tags=["t0"])
    begun = runs.bulk_cancel(tag=["t0", "t1"], name="clean up")
    assert (begun.type, begun.name, begun.is_over) == ("CANCEL", "clean up", True)
    assert (begun.total, begun.succeeded, begun.failed) == (2, 2, 0), "what is over is not looked for"
    assert {run.id for run in runs.list(status="CANCELED")} == set(held[:2])
    named = runs.bulk_cancel([held[2], held[0], over, "run_x"])
    assert (named.total, named.succeeded, named.failed) == (4, 1, 3)
    assert [run.id for run in runs.list(bulk_action=named.id)] == [held[2]]
    assert runs.bulk_cancel(everything=True).succeeded == 1 and not platform.held
    assert platform.runs[over].ok


def test_many_runs_are_replayed(platform: testing.Platform) -> None:
    first, second = trigger("fails", tags=["a"]), trigger("fails", tags=["b"], delay=START, idempotency_key="k")
    delayed = trigger(7, delay="1h", queue="other")
    begun = runs.bulk_replay(error="ValueError", to_region="eu")
    assert (begun.type, begun.total, begun.succeeded) == ("REPLAY", 2, 2)
    made = list(runs.list(bulk_action=begun.id))
    assert [list(run.tags) for run in made] == [["a"], ["b"]], "from the newest to the oldest"
    assert {run.region for run in made} == {"eu"} and {run.id for run in made}.isdisjoint({first, second})
    assert runs.bulk_replay([delayed, "run_x"]).failed == 1
    assert [run.output for run in platform.runs.values() if run.ok] == [7], "a replay does not wait for the date"
    assert runs.bulk_replay(queue="other", status="COMPLETED", created_from=START, is_test=False).succeeded == 1
    assert runs.bulk_replay(queue="task/hello", period="1s", version="test", task="hello").succeeded == 4
    assert runs.bulk_replay(queue="nobody's").total == 0


def test_bulk_actions_are_looked_at(platform: testing.Platform) -> None:
    begun = [runs.bulk_replay(everything=True, name=f"n{n}") for n in range(30)]
    assert [each.id for each in bulk_actions.list()] == [each.id for each in reversed(begun)]
    assert bulk_actions.wait(begun[3], 5.0) == bulk_actions.retrieve(begun[3].id)
    assert bulk_actions.retrieve(begun[3]).completed_at == START
    assert code_of(bulk_actions.abort, begun[0]) == (422, "BULK_ACTION_OVER")
    for call in (bulk_actions.abort, bulk_actions.retrieve):
        assert code_of(call, "bulk_x") == (404, "BULK_ACTION_NOT_FOUND")


def test_what_is_refused_of_bulk_actions(platform: testing.Platform) -> None:
    assert code_of(runs.bulk_cancel, error="ValueError") == (400, "BODY_INVALID")
    assert code_of(runs.bulk_cancel, status="COMPLETED") == (400, "BODY_INVALID")
    held = trigger(1, delay="1h")
    assert runs.bulk_cancel(status=["COMPLETED", "DELAYED"]).succeeded == 1 and held not in platform.held
