"""`sojourn.testing`: tasks that wait, in tests of users' projects."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn import Retry, WaitpointTimeoutError, context, task, tasks, testing, wait
from sojourn.sdk.errors import NotFoundError
from sojourn.sdk.task import Task

APPROVED = {"approved": True}


def approval(**token: Any) -> Task:
    @task(id="approval")
    def approval() -> Any:
        created = wait.create_token(tags=["approval"], **token)
        return wait.for_token(created).unwrap()

    return approval


def child() -> Task:
    @task(id="child", retry=Retry(max_attempts=1))
    def child(payload: int) -> int:
        if payload < 0:
            raise ValueError("negative")
        return payload * 2

    return child


def test_dates_pass_at_once_and_are_told() -> None:
    @task
    def patient() -> None:
        wait.for_(seconds=2)
        wait.for_(days=30, hours=1)
        wait.until(datetime(2999, 1, 1, tzinfo=UTC))
        wait.for_(seconds=-1)

    result = testing.run(patient)
    assert result.ok
    assert result.waited == (
        wait.delay(seconds=2),
        wait.delay(days=30, hours=1),
        wait.date("2999-01-01T00:00:00+00:00"),
    )


@pytest.mark.parametrize(
    "tokens",
    [
        {"approval": APPROVED},
        {"waitpoint_test1": APPROVED},
        {"order-1": APPROVED},
        lambda token: APPROVED if token.tags == ("approval",) else None,
    ],
)
def test_tokens_are_completed_as_the_test_says(tokens: Any) -> None:
    result = testing.run(approval(idempotency_key="order-1"), tokens=tokens)
    assert result.output == APPROVED
    assert result.waited == (wait.token("waitpoint_test1"),)


def test_a_token_that_nobody_completes_is_an_error_of_the_test() -> None:
    message = "waits for waitpoint_test1, which nobody completes: give the test's run or Platform tokens="
    with pytest.raises(testing.NobodyCompletesError, match=message) as raised:
        testing.run(approval())
    assert "tokens={tag, key or id: data} or a function" in str(raised.value)
    with pytest.raises(testing.NobodyCompletesError), testing.Platform():
        approval().trigger()


@pytest.mark.parametrize(
    ("token", "tokens"),
    [({"timeout": "10m"}, None), ({}, {"approval": testing.TIMES_OUT}), ({}, lambda _: testing.TIMES_OUT)],
)
def test_a_token_whose_time_is_over(token: dict[str, Any], tokens: Any) -> None:
    work = approval(**token)
    error = testing.run(work, tokens=tokens, max_attempts=1).error
    assert error is not None and error["name"] == WaitpointTimeoutError.__name__


def test_code_that_completes_tokens() -> None:
    @task
    def completes_its_own() -> Any:
        token = wait.create_token()
        wait.complete_token(token, [1])
        wait.complete_token(token, "late")
        assert wait.retrieve_token(token).status == "COMPLETED"
        return wait.for_token(token).unwrap()

    assert testing.run(completes_its_own).output == [1]


def test_tokens_of_an_app_and_its_runs_are_one() -> None:
    @task
    def waits(payload: str) -> Any:
        return wait.for_token(payload).unwrap()

    with testing.Platform() as platform:
        token = wait.create_token(timeout=timedelta(hours=1), tags=["a", "b"], idempotency_key="one")
        assert wait.create_token(idempotency_key="one").id == token.id
        assert [each.id for each in wait.list_tokens(status="WAITING", tags="b")] == [token.id]
        assert list(wait.list_tokens(status=["COMPLETED", "TIMED_OUT"])) == []
        wait.complete_token(token.id, {"by": "Ada"})
        (state,) = wait.list_tokens(idempotency_key="one")
        assert (state.status, state.output, state.tags) == ("COMPLETED", {"by": "Ada"}, ("a", "b"))
        assert waits.trigger_and_wait(token.id).unwrap() == {"by": "Ada"}
        assert len(platform.runs) == 1
        with pytest.raises(NotFoundError):
            wait.retrieve_token("waitpoint_x")
        assert waits.trigger_and_wait("waitpoint_x", max_attempts=1).error["name"] == "NotFoundError"


def test_any_ends_with_what_comes_first() -> None:
    @task
    def first(payload: Any) -> int:
        token = wait.create_token(tags=["approval"])
        return wait.any(wait.token(token), wait.delay(days=3), wait.delay(days=2)).index

    assert testing.run(first, tokens={"approval": 1}).output == 0
    assert testing.run(first).output == 2


def test_all_ends_with_the_last() -> None:
    @task
    def every() -> Any:
        token = wait.create_token(tags=["approval"])
        results = wait.all(wait.token(token), wait.delay(days=3), wait.run(work.trigger(4)))
        return [results[0].output, results[1], results[2].output]

    work = child()
    assert testing.run(every, tokens={"approval": "yes"}).output == ["yes", None, 8]
    with pytest.raises(testing.NobodyCompletesError):
        testing.run(every)


def test_children_run_in_place() -> None:
    work = child()

    @task
    def parent() -> Any:
        one = work.trigger_and_wait(1).unwrap()
        several = tasks.batch_trigger_and_wait("child", [2, (3, {"tags": ["x"]}), -1], priority=1)
        later = work.trigger(4)
        assert later.result(timeout=5).output == 8
        return [one, [result.output if result.ok else result.error["message"] for result in several]]

    with testing.Platform() as platform:
        result = testing.run(parent)
        assert result.output == [2, [4, 6, "negative"]]
        assert [each.kind for each in result.waited] == ["run"] * 4 + ["run", "date"]
        options = list(platform.options.values())
        assert options[2] == {"tags": ["x"], "priority": 1, "parentRunId": "run_test", "lockToVersion": "test"}
        assert "lockToVersion" not in options[4]
    assert testing.run(parent).output == result.output, "it needs no platform of the test's own"


def test_a_child_that_fails_is_a_result() -> None:
    work = child()

    @task(retry=Retry(max_attempts=1))
    def parent() -> Any:
        return work.trigger_and_wait(-1).unwrap()

    error = testing.run(parent).error
    assert error is not None and error["name"] == "SubtaskUnwrapError"
    assert error["message"].endswith("did not succeed: ValueError: negative")


def test_a_given_version_is_kept() -> None:
    work = child()

    @task
    def parent() -> None:
        work.trigger_and_wait(1, version="20260101.1")

    with testing.Platform() as platform:
        testing.run(parent)
        assert next(iter(platform.options.values()))["lockToVersion"] == "20260101.1"


def test_an_app_triggers_a_batch_and_waits() -> None:
    work = child()
    with testing.Platform():
        results = work.batch_trigger_and_wait([1, -1])
    assert [result.ok for result in results] == [True, False]


def test_coroutines_wait_at_once() -> None:
    work = child()

    @task
    async def parent() -> Any:
        token = await wait.create_token(tags=["approval"])
        result, _, told = await asyncio.gather(work.trigger_and_wait(1), wait.for_(seconds=10), wait.for_token(token))
        batch = await work.batch_trigger_and_wait([2, 3])
        await wait.for_(seconds=1)
        await wait.for_(seconds=0)
        await wait.complete_token(token, "late")
        state = await wait.retrieve_token(token)
        listed = [each.id async for each in wait.list_tokens()]
        first = await wait.any(wait.delay(days=1), wait.run(await asyncio.to_thread(work.trigger, 5)))
        handle = work.trigger(6)
        last = await handle.result()
        return [
            result.output, told.output, [each.output for each in batch], state.status, listed == [token.id],
            first.result.output, last.output,
        ]  # fmt: skip

    result = testing.run(parent, tokens={"approval": "yes"})
    assert result.output == [2, "yes", [4, 6], "COMPLETED", True, 10, 12]


async def in_a_loop() -> Any:
    return testing.run(approval(), tokens={"approval": APPROVED})


def test_a_test_may_be_a_coroutine() -> None:
    assert asyncio.run(in_a_loop()).output == APPROVED


def test_time_passes_in_order() -> None:
    order: list[int] = []

    @task
    async def several() -> None:
        async def one(days: int) -> None:
            await wait.for_(days=days)
            order.append(days)

        await asyncio.gather(one(3), one(1), one(2))

    assert testing.run(several).ok
    assert order == [1, 2, 3]


def test_a_thread_may_complete_what_a_busy_run_waits_for() -> None:
    @task
    async def busy() -> Any:
        token = await wait.create_token()
        threading.Timer(0.05, wait.complete_token, (token.id, "from a thread")).start()
        waiting = asyncio.create_task(wait.for_token(token))  # type: ignore[arg-type]  # typed as an awaitable
        while not waiting.done():
            await asyncio.sleep(0.01)
        return waiting.result().output

    with testing.Platform():
        assert testing.run(busy).output == "from a thread"


def test_a_retried_attempt_does_not_wait_again_under_a_key() -> None:
    @task(retry=Retry(max_attempts=3))
    def work() -> str:
        wait.for_(days=1, idempotency_key="once")
        wait.for_(days=2)
        if context.attempt.number < 3:
            raise ValueError("not yet")
        return "over"

    result = testing.run(work)
    assert result.output == "over"
    assert [each.seconds for each in result.waited if each.kind == "date"] == [86_400, 172_800, 172_800, 172_800]  # type: ignore[attr-defined]


def test_a_result_that_is_not_there_in_time() -> None:
    @task
    def parent(payload: str) -> None:
        from sojourn import runs

        with pytest.raises(NotFoundError):
            runs.result("run_x", timeout=5)

    assert testing.run(parent, "x").ok


def test_hooks_of_waits_run() -> None:
    seen: list[str] = []

    @task
    def work() -> None:
        wait.for_(days=1)
        wait.for_(seconds=1)

    work.on_wait(lambda wait: seen.append(wait.conditions[0].kind))
    work.on_resume(lambda: seen.append("resume"))
    assert testing.run(work).ok
    assert seen == ["date", "resume"]
