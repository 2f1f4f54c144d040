"""`sojourn.testing`: what tests of users' projects rely on."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from sojourn import Retry, RetryIn, context, logger, runs, task, tasks, testing
from sojourn.sdk.errors import NotFoundError, PayloadError, SubtaskUnwrapError


@dataclass
class Greeting:
    name: str


def greeting() -> Any:
    @task(id="hello")
    def hello(payload: Greeting) -> tuple[str, int]:
        logger.info("greeting", name=payload.name)
        logging.getLogger("library").info("from a library")
        return (f"Hello, {payload.name}", context.attempt.number)

    return hello


def flaky(failures: int) -> Any:
    @task(id="flaky", retry=Retry(max_attempts=3))
    def work(payload: Any) -> int:
        if context.attempt.number <= failures:
            raise ConnectionError("not yet")
        return context.attempt.number

    return work


def test_payload_and_output_go_through_json() -> None:
    result = testing.run(greeting(), {"name": "Ada"})
    assert (result.ok, result.output, result.attempts, result.task) == (True, ["Hello, Ada", 1], 1, "hello")
    assert testing.run(greeting(), Greeting("Ada")).output == ["Hello, Ada", 1]


def test_logs_of_both_kinds_are_kept() -> None:
    assert testing.run(greeting(), {"name": "Ada"}).logs == (
        ("INFO", "greeting", {"name": "Ada"}),
        ("INFO", "from a library", {"logger": "library"}),
    )


def test_retries_are_followed_without_waiting() -> None:
    result = testing.run(flaky(2))
    assert (result.output, result.attempts, result.delays) == (3, 3, (1.0, 2.0))


def test_a_run_that_fails_for_good() -> None:
    result = testing.run(flaky(9))
    assert (result.ok, result.attempts, result.error["name"]) == (False, 3, "ConnectionError")
    with pytest.raises(SubtaskUnwrapError, match="not yet"):
        result.unwrap()


def test_long_pauses_are_only_told() -> None:
    @task(id="patient", retry={"max_attempts": 2})
    def patient(payload: Any) -> None:
        raise ValueError("no good")

    patient.catch_error(lambda error: RetryIn(86_400))
    assert testing.run(patient).delays == (86_400,)


def test_a_payload_that_does_not_fit_fails_the_run_and_one_that_is_not_json_the_test() -> None:
    assert testing.run(greeting(), {"nme": "Ada"}).error["code"] == "TASK_INPUT_ERROR"
    with pytest.raises(PayloadError):
        testing.run(greeting(), object())


def test_fields_of_the_run_may_be_given() -> None:
    @task(id="tagged")
    def tagged(payload: Any) -> list[Any]:
        return [context.run.tags, context.run.is_test]

    assert testing.run(tagged, tags=["a"], is_test=False).output == [["a"], False]


def test_an_async_task_in_an_async_test() -> None:
    @task(id="later")
    async def later(payload: int) -> int:
        await asyncio.sleep(0)
        return payload + 1

    async def test() -> testing.Ended:
        return testing.run(later, 1)

    assert asyncio.run(test()).output == 2


def test_the_platform_runs_what_is_triggered() -> None:
    hello = greeting()
    with testing.Platform() as platform:
        handle = hello.trigger({"name": "Ada"}, tags=["a"], delay="1h")
        assert handle.result().unwrap() == ["Hello, Ada", 1]
        assert tasks.trigger_and_wait("hello", {"name": "Bob"}).output == ["Hello, Bob", 1]
        assert handle.retrieve().tags == ("a",)
        assert runs.retrieve(handle.id).payload == {"name": "Ada"}
        assert [run.id for run in runs.list(task="hello")] == ["run_test2", "run_test1"]
        assert next(runs.logs(handle.id))["message"] == "greeting"
        assert platform.options[handle.id] == {"tags": ["a"], "delay": "1h"}
        assert list(platform.runs) == ["run_test1", "run_test2"]


def test_a_task_that_triggers_another_is_its_parent() -> None:
    @task(id="child")
    def child(payload: int) -> Any:
        return context.run.parent_task_run_id

    @task(id="parent")
    def parent(payload: Any) -> list[str]:
        made = [child.trigger(number, idempotency_key="once").id for number in (1, 2)]
        return [*made, context.run.id]

    with testing.Platform() as platform:
        assert parent.trigger().result().output == ["run_test2", "run_test2", "run_test1"]
        assert platform.runs["run_test2"].output == "run_test1"


def test_idempotency_keys_lead_to_the_run_that_was_there() -> None:
    work = flaky(0)
    with testing.Platform():
        first, second = (work.trigger(idempotency_key="k") for _ in range(2))
        assert (second.id, first.is_cached, second.is_cached) == (first.id, False, True)


def test_a_failed_run_frees_its_key() -> None:
    work = flaky(9)
    with testing.Platform():
        assert not any(work.trigger(idempotency_key="k").is_cached for _ in range(2))


def test_a_replay_is_a_new_run() -> None:
    with testing.Platform() as platform:
        handle = greeting().trigger({"name": "Ada"})
        again = runs.replay(handle.id)
        assert again.task == "hello" and again.id != handle.id
        assert platform.runs[again.id].output == ["Hello, Ada", 1]


def test_a_run_tells_its_region() -> None:
    @task(id="where")
    def where(payload: Any) -> Any:
        return context.run.region

    with testing.Platform():
        home, eu = where.trigger(), where.trigger(region="eu")
        assert (home.result().output, eu.result().output) == ("default", "eu")
        assert (home.retrieve().region, eu.retrieve().region) == ("default", "eu")
        assert [run.id for run in runs.list(region="eu")] == [eu.id]
        assert runs.replay(eu.id).retrieve().region == "eu"
        assert runs.replay(eu.id, region="us").retrieve().region == "us"


def test_lists_are_narrowed_by_whatever_the_api_narrows_them_by() -> None:
    @task(id="breaks", queue="mail", machine="micro", retry=Retry(max_attempts=1))
    def breaks(payload: Any) -> None:
        raise ValueError(payload)

    @task(id="works")
    def works(payload: Any) -> Any:
        return payload

    with testing.Platform():
        ok = works.trigger(1, tags=["x", "y"], queue="slow", machine="large-1x", region="eu").id
        failed = breaks.trigger("no", tags=["x"]).id
        batch = works.batch_trigger([2])
        (item,) = [run.id for run in runs.list(batch=batch.id)]
        tried = works.trigger(3, test=True).id
        for filters, expected in (
            ({}, [tried, item, failed, ok]),
            ({"status": "FAILED"}, [failed]),
            ({"status": ["COMPLETED", "CANCELED"], "tag": "x"}, [ok]),
            ({"task": "works", "queue": "task/works"}, [tried, item]),
            ({"queue": "mail,slow"}, [failed, ok]),
            ({"queue": ["mail", "slow"]}, [failed, ok]),
            ({"queue": "mail, slow"}, [failed]),
            ({"tag": ["x,y"]}, []),
            ({"status": "FAILED, COMPLETED", "tag": "y"}, [ok]),
            ({"machine": "micro"}, [failed]),
            ({"region": "eu"}, [ok]),
            ({"version": "test", "is_test": True}, [tried]),
            ({"is_test": False, "task": "works"}, [item, ok]),
            ({"error": "ValueError"}, [failed]),
            ({"error": ["BUILT_IN_ERROR", "X"]}, [failed]),
            ({"error": "no"}, []),
            ({"schedule": "sched_1"}, []),
            ({"bulk_action": "bulk_1"}, []),
            ({"period": "1h", "tag": "y"}, [ok]),
            ({"created_from": "2099-01-01"}, []),
            ({"created_to": "2099-01-01", "tag": "y"}, [ok]),
        ):
            assert [run.id for run in runs.list(**filters)] == expected, filters


def test_an_unknown_task_names_those_there_are() -> None:
    greeting()
    with testing.Platform(), pytest.raises(NotFoundError, match="no task 'helo' was imported; there are: hello"):
        tasks.trigger("helo")


def test_platforms_are_left_one_by_one() -> None:
    hello = greeting()
    with testing.Platform() as outer:
        with testing.Platform() as inner:
            hello.trigger({"name": "Ada"})
        hello.trigger({"name": "Bob"})
    assert (len(outer.runs), len(inner.runs)) == (1, 1)
