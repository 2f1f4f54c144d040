"""`on_end` hooks: what they are told, what becomes of their errors, and that a hook's run calls nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sojourn import AbortTaskRunError, RunEnd, task, testing
from sojourn.sdk import manifest
from sojourn.sdk.attempt import Attempt
from sojourn.sdk.registry import Registry
from sojourn.sdk.task import Task

END = {
    "id": "run_1", "task": "work", "status": "CRASHED", "payload": '{"n": 7}', "payloadType": "application/json",
    "error": {"type": "INTERNAL_ERROR", "code": "TASK_PROCESS_SIGSEGV", "message": "gone"}, "attempts": 2, "tags": ["a"],
    "createdAt": "2026-03-04T00:00:00+00:00", "startedAt": "2026-03-04T00:00:01+00:00",
    "finishedAt": "2026-03-04T00:00:02+00:00",
}  # fmt: skip


class Order(BaseModel):
    n: int


def work(payload: Order) -> str:
    raise AssertionError("a hook's run does not call the task")


@pytest.fixture
def tell(begin: Callable[..., Attempt]) -> Callable[..., dict[str, Any]]:
    """Runs one attempt of a hook's run."""

    def run(function: Any = work, end: Any = END, **given: Any) -> dict[str, Any]:
        made = begin(function, **given)
        assignment = {**made._assignment, "end": {name: value for name, value in end.items() if value is not None}}
        return dict(Attempt(made._registry, assignment, lambda: 0.0).run())

    return run


def test_a_hook_is_told_the_end_and_given_the_payload_as_the_task_takes_it(tell: Any) -> None:
    told: list[Any] = []
    outcome = tell(on_end=lambda payload, ctx, end: told.append((payload, ctx.task.id, end)))
    [(payload, task, end)] = told
    assert outcome["ok"] and (payload, task) == (Order(n=7), "work")
    assert isinstance(end, RunEnd) and not end.ok
    assert (end.id, end.task, end.status, end.attempts, end.tags) == ("run_1", "work", "CRASHED", 2, ["a"])
    assert end.error["code"] == "TASK_PROCESS_SIGSEGV" and end.output is None
    assert end.finished_at == datetime(2026, 3, 4, 0, 0, 2, tzinfo=UTC)


def test_the_output_of_a_run_that_completed(tell: Any) -> None:
    told: list[RunEnd] = []
    tell(on_end=told.append, end={**END, "status": "COMPLETED", "error": None, "output": '{"a": [1]}'})
    assert told == []  # a parameter is asked for by its name

    def hook(end: RunEnd) -> None:
        told.append(end)

    tell(on_end=hook, end={**END, "status": "COMPLETED", "error": None, "output": '{"a": [1]}'})
    assert told[0].ok and told[0].output == {"a": [1]} and told[0].error is None


def test_a_run_that_never_started(tell: Any) -> None:
    told: list[Any] = []
    ended = {**END, "status": "EXPIRED", "error": None, "startedAt": None, "attempts": 0}
    assert tell(on_end=lambda end: told.append(end.started_at), end=ended)["ok"]
    assert told == [None]


def test_a_payload_that_does_not_fit_is_given_as_it_is(tell: Any) -> None:
    told: list[Any] = []
    for text in ('{"n": "x"}', "{", None):
        tell(on_end=lambda payload: told.append(payload), end={**END, "payload": text})
    assert told == [{"n": "x"}, "{", None]


def test_the_projects_hooks_come_first_and_nothing_else_is_called(tell: Any, registry: Registry) -> None:
    order: list[str] = []
    names = ("on_start_attempt", "on_success", "on_failure", "on_complete", "on_cancel", "catch_error", "middleware")
    others = {name: (lambda name=name: order.append(name)) for name in names}
    registry.hooks.add("on_end", lambda: order.append("project"))
    assert tell(on_end=lambda: order.append("task"), **others)["ok"]
    assert order == ["project", "task"]


def test_a_hook_may_be_async(tell: Any) -> None:
    told: list[str] = []

    async def hook(end: RunEnd) -> None:
        told.append(end.status)

    assert tell(on_end=hook)["ok"] and told == ["CRASHED"]


def test_a_hook_that_raises_is_tried_again_and_in_the_end_given_up(tell: Any) -> None:
    asked: list[str] = []

    def broken() -> None:
        raise ValueError("the mail server is away")

    hooks = {"on_end": broken, "catch_error": lambda: asked.append("catch"), "on_failure": lambda: asked.append("failure")}
    first, last = tell(number=1, **hooks), tell(number=3, **hooks)
    assert first["error"]["message"] == "the mail server is away" and first["retry"]["delay"] > 0
    assert last["retry"] is None and asked == []


def test_a_hook_may_say_that_another_try_is_useless(tell: Any) -> None:
    def broken() -> None:
        raise AbortTaskRunError("never")

    outcome = tell(on_end=broken)
    assert outcome["retry"] is None and outcome["skippedRetrying"]


def test_the_manifest_says_which_tasks_have_hooks(registry: Registry) -> None:
    def told() -> dict[str, Any]:
        here = Path(__file__).parent
        return {task["id"]: task.get("onEnd") for task in manifest.describe(registry, here, [])["tasks"]}

    registry.add(Task(work, id="with", on_end=lambda: None))
    registry.add(Task(work, id="without"))
    assert told() == {"with": True, "without": None}
    registry.hooks.add("on_end", lambda: None)
    assert told() == {"with": True, "without": True}


def test_in_a_test_hooks_are_called_once_after_the_last_attempt() -> None:
    told: list[Any] = []

    def tell(payload: int, end: RunEnd) -> None:
        told.append((payload, end.status, end.attempts))

    @task(retry={"max_attempts": 2}, on_end=tell)
    def fails(payload: int) -> None:
        raise ValueError("no good")

    ended = testing.run(fails, 5)
    assert not ended.ok and told == [(5, "FAILED", 2)]


def test_in_a_test_a_hook_that_raises_is_a_line_and_changes_nothing() -> None:
    def broken() -> None:
        raise ValueError("broken hook")

    @task(on_end=broken)
    def one() -> int:
        return 1

    ended = testing.run(one)
    assert ended.ok and ended.output == 1
    assert any("broken hook" in message for _, message, _ in ended.logs)
