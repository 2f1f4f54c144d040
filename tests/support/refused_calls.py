"""Calls that the API refuses, and with what: the real one, and the one of `sojourn.testing`. They know the task `hello`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from sojourn.sdk.client import Client
from sojourn.sdk.errors import ApiError
from sojourn.sdk.options import Debounce
from sojourn.sdk.queues import Queues
from sojourn.sdk.run import Runs
from sojourn.sdk.schedules import schedules
from sojourn.sdk.tasks import tasks
from sojourn.sdk.wait import wait

QUEUE = "task/hello"


def _limit(*given: Any, **named: Any) -> Callable[[Client], Any]:
    return lambda client: Queues(client).override_limit(QUEUE, *given, **named)


def _rate(*given: Any, **named: Any) -> Callable[[Client], Any]:
    return lambda client: Queues(client).set_rate(QUEUE, *given, **named)


def _trigger(**options: Any) -> Callable[[Client], Any]:
    return lambda client: tasks.trigger("hello", 1, client=client, **options)


def _wire(**options: Any) -> Callable[[Client], Any]:
    """A trigger of whoever writes the wire's own words."""
    return lambda client: client.trigger("hello", 1, options)


def _schedule(**options: Any) -> Callable[[Client], Any]:
    return lambda client: schedules.create("hello", "0 0 * * *", deduplication_key="a", client=client, **options)


def _runs(call: str, *given: Any, **named: Any) -> Callable[[Client], Any]:
    return lambda client: getattr(Runs(client), call)(*given, **named)


def _token(**options: Any) -> Callable[[Client], Any]:
    return lambda client: wait.create_token(client=client, **options)


#: What is asked; the status, code and field of the answer.
CASES: tuple[tuple[Callable[[Client], Any], int, str, str | None], ...] = (
    (_limit(100_001), 400, "BODY_INVALID", "concurrencyLimit"),
    (_limit(-5), 400, "BODY_INVALID", "concurrencyLimit"),
    (_limit(True), 400, "BODY_INVALID", "concurrencyLimit"),
    (_limit(percent="50"), 400, "BODY_INVALID", "percent"),
    (_limit(percent=0), 400, "BODY_INVALID", "percent"),
    (_limit(percent=101, concurrency_key="k"), 400, "BODY_INVALID", "percent"),
    (_rate(5, "0s"), 400, "BODY_INVALID", "period"),
    (_rate(5, "401d"), 400, "BODY_INVALID", "period"),
    (_rate(0, "1m"), 400, "BODY_INVALID", "limit"),
    (_rate(None, "1m"), 400, "BODY_INVALID", "limit"),
    (_rate(2.5, "1m"), 400, "BODY_INVALID", "limit"),
    (_rate(1_000_001, "1m"), 400, "BODY_INVALID", "limit"),
    (_rate(5, "1s", burst=50), 400, "BODY_INVALID", "burst"),
    (_rate(5, "1s", burst=0), 400, "BODY_INVALID", "burst"),
    (_rate(5, "1s", per_key=True, concurrency_key="k"), 400, "BODY_INVALID", None),
    (_trigger(debounce=Debounce("k", "0s")), 400, "BODY_INVALID", "options.debounce.delay"),
    (_trigger(debounce=Debounce("k", "10s", max_delay="10s")), 400, "BODY_INVALID", "options.debounce.maxDelay"),
    (_trigger(delay="soon"), 400, "BODY_INVALID", "options.delay"),
    (_trigger(tags=[f"t{n}" for n in range(11)]), 422, "TOO_MANY_TAGS", "options.tags"),
    (_trigger(machine="huge"), 400, "BODY_INVALID", "options.machine"),
    (_trigger(version="1"), 400, "BODY_INVALID", "options.lockToVersion"),
    (_trigger(queue="a b"), 400, "BODY_INVALID", "options.queue.name"),
    (_trigger(queue="task/.."), 400, "BODY_INVALID", "options.queue.name"),
    (_trigger(priority="high"), 400, "BODY_INVALID", "options.priority"),
    (_trigger(priority=31_536_001), 400, "BODY_INVALID", "options.priority"),
    (_trigger(priority=True), 400, "BODY_INVALID", "options.priority"),
    (_trigger(max_attempts=0), 400, "BODY_INVALID", "options.maxAttempts"),
    (_trigger(max_attempts=2.0), 400, "BODY_INVALID", "options.maxAttempts"),
    (_trigger(max_attempts=251), 400, "BODY_INVALID", "options.maxAttempts"),
    (_trigger(max_duration=0), 400, "BODY_INVALID", "options.maxDuration"),
    (_trigger(max_duration="1m"), 400, "BODY_INVALID", "options.maxDuration"),
    (_trigger(test="yes"), 400, "BODY_INVALID", "options.test"),
    (_trigger(region=5), 400, "BODY_INVALID", "options.region"),
    (_trigger(concurrency_key=[1]), 400, "BODY_INVALID", "options.concurrencyKey"),
    (_trigger(tags="x" * 129), 400, "BODY_INVALID", "options.tags"),
    (_trigger(tags=["a", "x" * 129]), 400, "BODY_INVALID", "options.tags.1"),
    (_wire(tags=5), 400, "BODY_INVALID", "options.tags"),
    (_wire(tags=["a", 5]), 400, "BODY_INVALID", "options.tags.1"),
    (_wire(queue={"name": 5}), 400, "BODY_INVALID", "options.queue.name"),
    (_runs("bulk_cancel", error="ValueError"), 400, "BODY_INVALID", "filter.error"),
    (_runs("bulk_cancel", status=["COMPLETED", "FAILED"]), 400, "BODY_INVALID", "filter.status"),
    (_runs("reset_idempotency_key", "hello", "nobody's"), 404, "IDEMPOTENCY_KEY_NOT_FOUND", None),
    (_runs("reschedule", f"run_{'0' * 26}", "soon"), 400, "BODY_INVALID", "delay"),
    (_runs("reschedule", "run_x", "1h"), 404, "RUN_NOT_FOUND", None),
    (_runs("why", "run_x"), 404, "RUN_NOT_FOUND", None),
    (_token(timeout=datetime(2999, 1, 1, tzinfo=UTC)), 400, "BODY_INVALID", "timeout"),
    (_schedule(window="99d"), 422, "SCHEDULE_INVALID", "window"),
    (_schedule(window="25h"), 422, "SCHEDULE_INVALID", "window"),
    (_schedule(timezone="Mars"), 422, "SCHEDULE_INVALID", "timezone"),
)


def check(client: Client, case: tuple[Callable[[Client], Any], int, str, str | None]) -> None:
    """The call is refused so."""
    ask, *told = case
    with pytest.raises(ApiError) as caught:
        ask(client)
    assert [caught.value.status, caught.value.code, caught.value.field] == told
