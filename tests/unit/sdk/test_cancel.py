"""Cancelling an attempt from another thread: hooks, the exception in the task, and nothing after its end."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from typing import Any

import pytest

from sojourn.sdk.attempt import Attempt
from sojourn.sdk.context import context
from sojourn.sdk.errors import RunCancelledError
from sojourn.sdk.logger import logger

#: Seconds. A task that is not stopped would be here much longer than any of these tests.
LONG = 60


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Python swallowed. The test runner's own hook is Python code in the task's thread, which a cancellation that
    comes again would interrupt; `list.append` is not."""
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    return told


def cancel_when(begun: Attempt, ready: threading.Event, reason: str = "not wanted") -> threading.Thread:
    def cancel() -> None:
        assert ready.wait(LONG)
        begun.cancel(reason)

    thread = threading.Thread(target=cancel)
    thread.start()
    return thread


def code_of(outcome: dict[str, Any]) -> str:
    assert outcome["skippedRetrying"] and outcome["retry"] is None
    return str(outcome["error"]["code"])


def test_a_sleeping_task_is_woken_and_cleans_up(begin: Any) -> None:
    ready = threading.Event()
    order: list[Any] = []

    def work(payload: Any) -> None:
        try:
            ready.set()
            time.sleep(LONG)
        finally:
            order.append("cleaned up")

    begun = begin(work, on_cancel=lambda reason, signal: order.append((reason, signal.is_set())))
    thread = cancel_when(begun, ready)
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    thread.join()
    assert order == [("not wanted", True), "cleaned up"]


def test_a_busy_task_is_stopped(begin: Any) -> None:
    ready = threading.Event()

    def work(payload: Any) -> None:
        ready.set()
        while True:
            pass

    begun = begin(work)
    thread = cancel_when(begun, ready)
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    thread.join()


def test_an_async_task_and_async_middleware_clean_up(begin: Any) -> None:
    ready, order = threading.Event(), []

    async def around() -> Any:
        try:
            yield
        finally:
            await asyncio.sleep(0)
            order.append("middleware")

    async def work(payload: Any) -> None:
        try:
            ready.set()
            await asyncio.sleep(LONG)
        finally:
            await asyncio.sleep(0)
            order.append("task")

    async def told(reason: str) -> None:
        await asyncio.sleep(0)
        order.append(reason)

    begun = begin(work, middleware=around, on_cancel=told)
    thread = cancel_when(begun, ready)
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    thread.join()
    assert order == ["not wanted", "task", "middleware"]


def test_a_task_may_watch_the_signal_and_end_by_itself(begin: Any) -> None:
    ready, hooks = threading.Event(), []

    def work(payload: Any) -> str:
        ready.set()
        assert context.signal.wait(LONG)
        return "its value is discarded"

    def slow_hook() -> None:
        hooks.append(context.run.id)

    begun = begin(work, on_cancel=slow_hook, on_success=lambda: hooks.append("never"))
    thread = cancel_when(begun, ready)
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    thread.join()
    assert hooks == ["run_1"]


def test_project_hooks_come_first_and_their_errors_are_logged(begin: Any, registry: Any, lines: Any) -> None:
    ready, order = threading.Event(), []

    def work(payload: Any) -> None:
        ready.set()
        time.sleep(LONG)

    def broken(ctx: Any) -> None:
        order.append("project")
        raise ValueError("in the hook")

    registry.hooks.add("on_cancel", broken)
    begun = begin(work, on_cancel=lambda: order.append("task"))
    thread = cancel_when(begun, ready)
    begun.run()
    thread.join()
    assert order == ["project", "task"]
    assert "the hook broken raised ValueError" in lines[0][1]


def test_hooks_have_a_budget(begin: Any) -> None:
    ready, stuck = threading.Event(), threading.Event()

    def work(payload: Any) -> None:
        ready.set()
        time.sleep(LONG)

    begun = begin(work, on_cancel=lambda: stuck.wait(LONG), cancel_budget=0.05)
    thread = cancel_when(begun, ready)
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    thread.join()
    stuck.set()


def test_no_retry_hook_sees_a_cancelled_attempt(begin: Any) -> None:
    ready, asked = threading.Event(), []

    def work(payload: Any) -> None:
        try:
            ready.set()
            time.sleep(LONG)
        except RunCancelledError:
            raise ValueError("turned into another") from None

    hooks = {name: (lambda name=name: asked.append(name)) for name in ("catch_error", "on_failure", "on_complete")}
    begun = begin(work, **hooks)
    thread = cancel_when(begun, ready)
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    thread.join()
    assert asked == []


def test_cancelled_before_it_began(begin: Any) -> None:
    def work(payload: Any) -> None:
        raise AssertionError("not reached")

    begun = begin(work)
    begun.cancel("early")
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"


def test_after_its_end_a_cancellation_does_nothing(begin: Any) -> None:
    called = []
    begun = begin(lambda payload: 1, id="x", on_cancel=lambda: called.append(1))
    assert begun.run()["ok"]
    begun.cancel("late")
    begun.cancel("later")
    assert called == []


def test_a_second_cancellation_is_the_first(begin: Any) -> None:
    ready, called = threading.Event(), []

    def work(payload: Any) -> None:
        ready.set()
        time.sleep(LONG)

    begun = begin(work, on_cancel=lambda: called.append(1))
    threads = [cancel_when(begun, ready) for _ in range(3)]
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    for thread in threads:
        thread.join()
    assert called == [1]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_whenever_it_comes_the_thread_is_left_in_peace(begin: Any, kind: str) -> None:
    """A cancellation at a moment that nobody chose: the outcome is one of two, and no exception comes after it."""

    def plain(payload: Any) -> int:
        return sum(range(2000))

    async def waiting(payload: Any) -> int:
        await asyncio.sleep(0)
        return 1

    codes = set()
    for _ in range(60):
        begun = begin(plain if kind == "plain" else waiting)
        go = threading.Event()
        thread = cancel_when(begun, go)
        go.set()
        outcome = begun.run()
        codes.add("ok" if outcome["ok"] else outcome["error"]["code"])
        thread.join()
        sum(range(2000))  # where an exception that came late would be raised
    assert codes <= {"ok", "TASK_RUN_CANCELLED"}


def test_an_exception_that_python_swallows_comes_again(begin: Any, unraisable: list[Any]) -> None:
    """What is raised in a `__del__` goes nowhere; the task around it is stopped all the same."""
    ready, swallowed = threading.Event(), []

    class Stubborn:
        def __del__(self) -> None:
            try:
                ready.set()
                while True:
                    pass
            finally:
                swallowed.append(True)

    def work(payload: Any) -> None:
        Stubborn()
        while True:
            pass

    begun = begin(work)
    thread = cancel_when(begun, ready)
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    thread.join()
    assert swallowed == [True]
    assert [each.exc_type for each in unraisable] == [RunCancelledError]


def test_clean_up_is_not_interrupted(begin: Any) -> None:
    ready, order = threading.Event(), []

    def work(payload: Any) -> None:
        try:
            ready.set()
            time.sleep(LONG)
        finally:
            time.sleep(0.05)  # several sendings long
            try:
                raise KeyError
            except KeyError:
                time.sleep(0.05)
            order.append("cleaned up")

    begun = begin(work)
    thread = cancel_when(begun, ready)
    assert code_of(begun.run()) == "TASK_RUN_CANCELLED"
    thread.join()
    assert order == ["cleaned up"]


def test_the_signal_handler_is_put_back(begin: Any) -> None:
    begin(lambda payload: 1, id="x").run()
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


def test_an_attempt_outside_the_main_thread_can_be_cancelled(begin: Any, lines: Any) -> None:
    ready, outcomes = threading.Event(), []

    def work(payload: Any) -> None:
        ready.set()
        while True:
            logger.debug("still here")

    begun = begin(work)
    runner = threading.Thread(target=lambda: outcomes.append(begun.run()))
    runner.start()
    cancel_when(begun, ready).join()
    runner.join(LONG)
    assert code_of(outcomes[0]) == "TASK_RUN_CANCELLED"
