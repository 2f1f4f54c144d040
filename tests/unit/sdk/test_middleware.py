"""Middleware: what it sees, what it may change, and how its own failures are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sojourn.sdk.errors import CompleteTaskWithOutput


def work(payload: Any) -> str:
    if payload == "fail":
        raise ValueError("no good")
    return "done"


def test_an_async_middleware_around_either_kind_of_task(attempt: Any) -> None:
    order: list[str] = []

    async def around(payload: Any) -> Any:
        await asyncio.sleep(0)
        order.append(f"in {payload}")
        yield
        await asyncio.sleep(0)
        order.append("out")

    async def async_work(payload: Any) -> str:
        return "done"

    assert attempt(work, '"a"', middleware=around)["ok"]
    assert attempt(async_work, '"b"', middleware=around)["ok"]
    assert order == ["in a", "out", "in b", "out"]


@pytest.mark.parametrize("is_async", [False, True])
def test_it_sees_the_tasks_error_and_passes_it_on(attempt: Any, is_async: bool) -> None:
    seen: list[str] = []

    def around() -> Any:
        try:
            yield
        finally:
            seen.append("closed")

    async def async_around() -> Any:
        try:
            yield
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    outcome = attempt(work, '"fail"', middleware=async_around if is_async else around)
    assert outcome["error"]["message"] == "no good"
    assert seen == ["closed"]


def test_it_may_deal_with_the_error(attempt: Any) -> None:
    def around() -> Any:
        try:
            yield
        except ValueError:
            return

    assert attempt(work, '"fail"', middleware=around)["output"] == "null"


def test_it_may_give_an_output_instead(attempt: Any) -> None:
    def around() -> Any:
        try:
            yield
        except ValueError as error:
            raise CompleteTaskWithOutput("fallback") from error

    assert attempt(work, '"fail"', middleware=around)["output"] == '"fallback"'


def test_it_may_replace_the_error(attempt: Any) -> None:
    def around() -> Any:
        try:
            yield
        except ValueError as error:
            raise KeyError("other") from error

    assert attempt(work, '"fail"', middleware=around)["error"]["name"] == "KeyError"


def before(ctx: Any) -> Any:
    raise OSError("no database")
    yield


def after(ctx: Any) -> Any:
    yield
    raise OSError("no database")


def without_yield(ctx: Any) -> None: ...


def ends_early(ctx: Any) -> Any:
    if ctx is None:
        yield


def twice(ctx: Any) -> Any:
    yield
    yield


async def async_before(ctx: Any) -> Any:
    raise OSError("no database")
    yield


@pytest.mark.parametrize(
    ("middleware", "message"),
    [
        (before, "OSError: no database"),
        (after, "OSError: no database"),
        (async_before, "OSError: no database"),
        (without_yield, "TypeError: the middleware without_yield has no `yield` where the task runs"),
        (ends_early, "RuntimeError: the middleware ends_early ended before its `yield`"),
        (twice, "RuntimeError: the middleware twice has more than one `yield`"),
    ],
)
def test_its_own_failure_is_told_as_its_own_and_tried_again(attempt: Any, middleware: Any, message: str) -> None:
    outcome = attempt(work, "1", middleware=middleware)
    assert (outcome["error"]["code"], outcome["error"]["message"]) == ("TASK_MIDDLEWARE_ERROR", message)
    assert outcome["retry"]["delay"] == 1000


def test_a_second_yield_after_an_error_is_a_failure(attempt: Any) -> None:
    def around() -> Any:
        try:
            yield
        except ValueError:
            yield

    assert attempt(work, '"fail"', middleware=around)["error"]["code"] == "TASK_MIDDLEWARE_ERROR"
