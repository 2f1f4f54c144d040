"""One attempt: payloads in, outcomes out, errors described, retries decided."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from sojourn.sdk.attempt import Attempt, run_attempt
from sojourn.sdk.context import context
from sojourn.sdk.decision import RetryAt, RetryIn, Skip
from sojourn.sdk.errors import (
    AbortTaskRunError,
    ApiError,
    BadRequestError,
    CompleteTaskWithOutput,
    OutOfMemoryError,
    OutsideRunError,
    RateLimitError,
)
from sojourn.sdk.options import Retry
from sojourn.sdk.run_locals import locals
from sojourn.sdk.task import Task


@dataclass
class Greeting:
    name: str
    times: int = 1


class Order(BaseModel):
    amount: float


def fail(payload: Any = None) -> None:
    raise ValueError("no good")


# --- success


def test_a_payload_becomes_its_hint_and_the_value_json(attempt: Any) -> None:
    def greet(payload: Greeting) -> dict[str, str]:
        return {"said": f"Hello, {payload.name}" * payload.times}

    outcome = attempt(greet, '{"name": "Ada"}')
    assert outcome == {"ok": True, "output": '{"said":"Hello, Ada"}', "outputType": "application/json"}


def test_a_pydantic_payload(attempt: Any) -> None:
    def charge(payload: Order) -> Order:
        return payload

    assert attempt(charge, '{"amount": "2.5"}')["output"] == '{"amount":2.5}'


def test_an_async_task_and_async_hooks_share_one_event_loop(attempt: Any) -> None:
    loops = []

    async def work(payload: int) -> int:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return payload * 2

    async def before() -> None:
        loops.append(asyncio.get_running_loop())

    async def after(output: int) -> None:
        loops.append(asyncio.get_running_loop())

    assert attempt(work, "21", on_start_attempt=before, on_success=after)["output"] == "42"
    assert len(loops) == 3 and len(set(loops)) == 1
    assert loops[0].is_closed()


def no_payload() -> str:
    return "done"


def with_context(payload: int, ctx: Any) -> str:
    return f"{payload} {ctx.run.id}"


def with_default(payload: int = 7, ctx: Any = None) -> str:
    return f"{payload} {ctx.run.id}"


@pytest.mark.parametrize(
    ("function", "payload", "output"),
    [
        (no_payload, None, "done"),
        (no_payload, '{"ignored": true}', "done"),
        (with_context, "1", "1 run_1"),
        (with_default, None, "7 run_1"),
        (with_default, "null", "7 run_1"),
        (with_default, "8", "8 run_1"),
        (lambda payload: payload, '{"any": ["thing"]}', {"any": ["thing"]}),
    ],
)
def test_the_function_gets_what_it_asks_for(attempt: Any, function: Any, payload: str | None, output: Any) -> None:
    assert json.loads(attempt(function, payload, id="x")["output"]) == output


def test_a_plain_text_payload_is_given_as_it_is(attempt: Any) -> None:
    assert attempt(lambda payload: payload, "{not json", id="x", payload_type="text/plain")["output"] == '"{not json"'


def test_complete_with_output_ends_the_run_from_anywhere(attempt: Any) -> None:
    def deep(payload: Any) -> None:
        raise CompleteTaskWithOutput({"early": True})

    assert attempt(deep)["output"] == '{"early":true}'


# --- input and output errors


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ('{"nme": "Ada"}', "payload.nme: is not known"),
        ('{"name": 1}', "payload.name: expected string, got 1"),
        ("[", "payload: is not JSON"),
        ("[" * 100_000 + "]" * 100_000, "payload: is nested too deeply"),
        ("1" * 5000, "payload: is not JSON"),
    ],
)
def test_a_payload_that_does_not_fit_is_not_tried_again(attempt: Any, payload: str, message: str) -> None:
    failures = []

    def greet(payload: Greeting) -> None:
        raise AssertionError("not reached")

    outcome = attempt(greet, payload, on_failure=lambda error: failures.append(type(error).__name__))
    assert outcome["error"]["code"] == "TASK_INPUT_ERROR"
    assert message in outcome["error"]["message"]
    assert (outcome["retry"], outcome["skippedRetrying"], failures) == (None, True, ["PayloadError"])


def test_a_payload_that_is_too_deep_for_its_hint(attempt: Any) -> None:
    outcome = attempt(lambda payload: 1, '{"children": ' * 100_000, id="x")
    assert outcome["error"]["code"] == "TASK_INPUT_ERROR"


def test_a_hint_that_cannot_be_read_is_told_and_not_raised(attempt: Any) -> None:
    def broken(payload: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert attempt(broken, "1")["error"]["code"] == "CONFIGURED_INCORRECTLY"


def generator(payload: Any) -> Any:
    yield 1


async def async_generator(payload: Any) -> Any:
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator, lambda payload: float("nan"), lambda payload: b"x"])
def test_a_value_that_is_not_json_is_not_tried_again(attempt: Any, function: Any) -> None:
    outcome = attempt(function, id="x")
    assert outcome["error"]["code"] == "TASK_OUTPUT_ERROR"
    assert (outcome["retry"], outcome["skippedRetrying"]) == (None, True)


def test_an_unknown_task(registry: Any, begin: Any) -> None:
    begun: Attempt = begin(no_payload)
    registry.clear()
    assert begun.run()["error"]["code"] == "COULD_NOT_FIND_TASK"


# --- errors and retries


def test_an_exception_is_described_from_the_users_first_line_on(attempt: Any) -> None:
    error = attempt(fail)["error"]
    assert (error["type"], error["name"], error["message"]) == ("BUILT_IN_ERROR", "ValueError", "no good")
    assert "test_attempt.py" in error["stackTrace"]
    assert "sdk/attempt.py" not in error["stackTrace"]


def test_an_async_exception_is_described_without_the_event_loop(attempt: Any) -> None:
    async def work(payload: Any) -> None:
        fail()

    stack = attempt(work)["error"]["stackTrace"]
    assert "in fail" in stack
    assert "asyncio" not in stack and "sdk/attempt.py" not in stack


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text of me")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Unspeakable(), "<Unspeakable whose text cannot be had>"),
        (ValueError("\x00\ud800"), "\\x00\\ud800"),
        (SystemExit(3), "3"),
        (KeyboardInterrupt(), ""),
        (ExceptionGroup("some", [ValueError("one")]), "some (1 sub-exception)"),
    ],
)
def test_odd_exceptions_are_told_in_texts_that_can_be_stored(attempt: Any, error: BaseException, message: str) -> None:
    def work(payload: Any) -> None:
        raise error

    told = attempt(work)["error"]
    assert told["message"] == message
    json.dumps(told, ensure_ascii=False).encode("utf-8")


def test_huge_texts_are_cut(attempt: Any) -> None:
    def work(payload: Any) -> None:
        raise ValueError("é" * 1_000_000)

    error = attempt(work)["error"]
    assert len(error["message"].encode()) <= 16 * 1024
    assert len(error["stackTrace"].encode()) <= 16 * 1024


def test_endless_recursion_is_an_error_like_any_other(attempt: Any) -> None:
    def dig(payload: Any) -> Any:
        return dig(payload)

    error = attempt(dig)["error"]
    assert error["name"] == "RecursionError"
    assert len(error["stackTrace"]) <= 16 * 1024


@pytest.mark.parametrize(("number", "milliseconds"), [(1, 1000), (2, 2000)])
def test_a_failed_attempt_is_tried_again_after_the_formulas_pause(attempt: Any, number: int, milliseconds: int) -> None:
    outcome = attempt(fail, number=number)
    assert outcome["retry"]["delay"] == milliseconds
    assert outcome["retry"]["timestamp"] > datetime.now(UTC).timestamp() * 1000 - 60_000
    assert outcome["skippedRetrying"] is False


def test_the_last_attempt_is_not(attempt: Any) -> None:
    assert attempt(fail, number=3)["retry"] is None


@pytest.mark.parametrize(
    ("error", "is_tried_again"),
    [
        (AbortTaskRunError("stop"), False),
        (BadRequestError("bad", status=400), False),
        (ApiError("slow", status=408), True),
        (ApiError("down", status=503), True),
        (ApiError("no answer"), True),
        (RateLimitError("slow down", status=429, headers={"x-ratelimit-reset": "nonsense"}), True),
    ],
)
def test_errors_that_would_only_come_again(attempt: Any, error: Exception, is_tried_again: bool) -> None:
    def work(payload: Any) -> None:
        raise error

    outcome = attempt(work)
    assert (outcome["retry"] is not None, outcome["skippedRetrying"]) == (is_tried_again, not is_tried_again)


def test_a_rate_limit_is_waited_for(attempt: Any) -> None:
    reset = (datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000

    def work(payload: Any) -> None:
        raise RateLimitError("slow down", status=429, headers={"x-ratelimit-reset": str(int(reset))})

    assert 3_500_000 < attempt(work)["retry"]["delay"] <= 3_600_000


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError()])
def test_running_out_of_memory_is_left_to_the_platform(attempt: Any, error: Exception) -> None:
    def work(payload: Any) -> None:
        raise error

    outcome = attempt(work)
    assert outcome["error"]["code"] == "TASK_PROCESS_OOM_KILLED"
    assert (outcome["retry"], outcome["skippedRetrying"]) == (None, False)


# --- catch_error


def in_an_hour() -> datetime:
    """Asked when a test runs: tests may be collected long before that."""
    return datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("decided", "delays"),
    [
        (None, (1000, 1000)),
        (Skip(), None),
        (RetryIn(5), (5000, 5000)),
        (RetryIn(0), (0, 0)),
        (RetryAt(datetime(2020, 1, 1, tzinfo=UTC)), (0, 0)),
        (lambda: RetryAt(in_an_hour()), (3_500_000, 3_600_000)),
        (Retry(max_attempts=5, min_timeout=3), (3000, 3000)),
        (Retry(max_attempts=1), None),
        (KeyError("replaced"), (1000, 1000)),
        (AbortTaskRunError("never"), None),
    ],
)
def test_what_catch_error_may_decide(attempt: Any, decided: Any, delays: tuple[int, int] | None) -> None:
    outcome = attempt(fail, catch_error=lambda error: decided() if callable(decided) else decided)
    if delays is None:
        assert outcome["retry"] is None
    else:
        assert delays[0] <= outcome["retry"]["delay"] <= delays[1]


def test_no_decision_outlives_the_last_attempt(attempt: Any) -> None:
    assert attempt(fail, number=3, catch_error=lambda: RetryIn(1))["retry"] is None


@pytest.mark.parametrize("decided", [RetryIn(1, KeyError("replaced")), Skip(KeyError("replaced")), KeyError("replaced")])
def test_catch_error_may_replace_the_error(attempt: Any, decided: Any) -> None:
    assert attempt(fail, catch_error=lambda: decided)["error"]["name"] == "KeyError"


def test_catch_error_asks_the_task_before_the_project(attempt: Any, registry: Any) -> None:
    asked = []
    registry.hooks.add("catch_error", lambda: asked.append("project"))
    attempt(fail, catch_error=[lambda: asked.append("task")])
    assert asked == ["task", "project"]
    attempt(fail, id="other", catch_error=[lambda: RetryIn(9)])
    assert asked == ["task", "project"]


def raises(error: Any) -> None:
    raise KeyError("in the hook")


@pytest.mark.parametrize(
    "hook", [raises, lambda: "try again", lambda: RetryIn(-1), lambda: RetryAt(in_an_hour().replace(tzinfo=None))]
)
def test_a_broken_catch_error_fails_the_run(attempt: Any, hook: Any) -> None:
    outcome = attempt(fail, catch_error=hook)
    assert outcome["error"]["code"] == "HANDLE_ERROR_ERROR"
    assert outcome["retry"] is None


# --- hooks


def test_the_order_of_hooks(attempt: Any, registry: Any) -> None:
    order: list[str] = []

    def around(name: str) -> Any:
        def middleware() -> Any:
            order.append(f"{name} in")
            yield
            order.append(f"{name} out")

        return middleware

    def work(payload: Any) -> None:
        order.append("task")

    names = ("on_start_attempt", "on_success", "on_failure", "on_complete")
    for name in names:
        registry.hooks.add(name, lambda name=name: order.append(f"project {name}"))
    registry.hooks.add("middleware", around("project"))
    hooks = {name: (lambda name=name: order.append(f"task {name}")) for name in names}
    attempt(work, middleware=around("task"), **hooks)
    assert order == [
        "project in",
        "task in",
        "project on_start_attempt",
        "task on_start_attempt",
        "task",
        "task out",
        "project out",
        "project on_success",
        "task on_success",
        "project on_complete",
        "task on_complete",
    ]


def test_a_failure_is_told_after_the_last_attempt_only(attempt: Any) -> None:
    told: list[Any] = []
    hooks = {
        "on_failure": lambda error, payload: told.append((str(error), payload)),
        "on_complete": lambda result: told.append((result.ok, result.error["message"])),
        "on_success": lambda: told.append("never"),
    }
    attempt(fail, "1", number=2, **hooks)
    assert told == []
    attempt(fail, "1", number=3, **hooks)
    assert told == [("no good", 1), (False, "no good")]


@pytest.mark.parametrize("error", [ValueError("late"), SystemExit(1), Unspeakable()])
def test_errors_in_late_hooks_are_logged_and_change_nothing(attempt: Any, lines: Any, error: BaseException) -> None:
    def broken(output: Any) -> None:
        raise error

    assert attempt(no_payload, on_success=broken)["ok"] is True
    assert lines[0][0] == "ERROR" and "the hook broken raised" in lines[0][1]


def test_an_error_in_on_start_attempt_fails_the_attempt(attempt: Any) -> None:
    def broken(ctx: Any) -> None:
        raise ValueError("not ready")

    outcome = attempt(no_payload, on_start_attempt=broken)
    assert outcome["error"]["message"] == "not ready"
    assert outcome["retry"]["delay"] == 1000


def test_hooks_get_what_they_name(attempt: Any) -> None:
    seen: dict[str, Any] = {}
    attempt(lambda payload: 2, "1", id="x", on_success=lambda **everything: seen.update(everything))
    assert sorted(seen) == ["ctx", "output", "payload", "signal"]
    assert (seen["payload"], seen["output"], seen["ctx"].run.id) == (1, 2, "run_1")


# --- context and locals


def test_context_and_locals_last_as_long_as_the_attempt(attempt: Any) -> None:
    key = locals.create("db", str)
    seen: list[Any] = []

    def open_database() -> Any:
        locals.set(key, "open")
        yield
        seen.append(locals.require(key))

    def work(payload: Any, ctx: Any) -> None:
        assert ctx.attempt.number == context.attempt.number == 1
        seen.append(locals.get(key))

    attempt(work, middleware=open_database)
    assert seen == ["open", "open"]

    def fresh(payload: Any) -> Any:
        return locals.get(key, "none")

    assert attempt(fresh)["output"] == '"none"'
    with pytest.raises(OutsideRunError, match=r"context\.run exists only inside a run"):
        _ = context.run


def test_the_context_has_its_fields_and_no_others(begin: Any) -> None:
    made = begin(no_payload).context
    assert made.run.created_at == datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    assert (made.run.parent_task_run_id, made.run.idempotency_key, made.run.tags) == ("run_0", None, ["blue"])
    assert made.run.metadata == {"camelCase": {"kept": 1}}
    assert (made.queue.name, made.machine.cpu, made.deployment.version) == ("hello", 0.5, "20260304.1")
    assert not hasattr(made.run, "payload") and not hasattr(made, "token")
    with pytest.raises(AttributeError):
        _ = made.run.idd


def test_run_attempt_is_the_short_form(registry: Any) -> None:
    registry.add(Task(no_payload))
    assigned = {"run": {"id": "run_1"}, "attempt": {"number": 1}, "task": {"id": "no-payload"}}
    assert run_attempt(registry, assigned)["output"] == '"done"'


def test_the_recursion_limit_is_left_alone(attempt: Any) -> None:
    before = sys.getrecursionlimit()
    attempt(no_payload)
    assert sys.getrecursionlimit() == before
