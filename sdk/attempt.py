"""One attempt of a task in this process: payload in, hooks and middleware around, outcome out.

Order: payload converted; middleware (project's, then the task's) outermost; `on_start_attempt`; the task; its value
written as JSON; then, outside the middleware, `on_success` or, after a failure that is final, `on_failure`; then
`on_complete`. Project hooks come before the task's, `catch_error` the other way round. Errors in `on_success`,
`on_failure` and `on_complete` are logged and change nothing. `on_end` hooks have a run of their own, with nothing around
them.
"""

from __future__ import annotations

import sys
import threading
import time

from sojourn.sdk import context as contexts
from sojourn.sdk import outcome as outcomes
from sojourn.sdk import retrying
from sojourn.sdk.calls import Calls, call_apart
from sojourn.sdk.context import RunContext
from sojourn.sdk.decision import RetryAt, RetryIn, Skip
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import (
    CompleteTaskWithOutput,
    OutOfMemoryError,
    OutputError,
    PayloadError,
    RunCancelledError,
    TaskDefinitionError,
)
from sojourn.sdk.hooks import fitting
from sojourn.sdk.interrupt import Interrupt
from sojourn.sdk.logger import logger
from sojourn.sdk.middleware import Around, MiddlewareError
from sojourn.sdk.options import Retry
from sojourn.sdk.outcome import describe, failure, internal
from sojourn.sdk.payload import given_payload, read_payload
from sojourn.sdk.protocol import ErrorCode
from sojourn.sdk.result import TaskResult
from sojourn.sdk.run_end import RunEnd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from sojourn.sdk.hooks import Hook
    from sojourn.sdk.outcome import Outcome
    from sojourn.sdk.registry import Registry
    from sojourn.sdk.task import Task
    from sojourn.sdk.waiting import Port, Waiting

#: Seconds that `on_cancel` hooks have, all together, before the task's code is stopped.
CANCEL_BUDGET = 30.0


class Attempt:
    """One attempt. `run` is called once; `cancel` may be called meanwhile from another thread.

    `unit_random` in [0, 1) stretches the pause before the next attempt; by default it is drawn when needed. `port`: where
    waits are told; without one the task's code cannot wait. `now`: seconds since the epoch, which a test
    counts by itself.
    """

    def __init__(
        self,
        registry: Registry,
        assignment: Mapping[str, Any],
        unit_random: Callable[[], float] | None = None,
        cancel_budget: float = CANCEL_BUDGET,
        port: Port | None = None,
        now: Callable[[], float] | None = None,
    ):
        self._registry = registry
        self._assignment = assignment
        self._unit_random = unit_random or _draw
        self._cancel_budget = cancel_budget
        self._now = now or _wall
        self._context = RunContext(assignment)
        self._is_hook = "end" in assignment
        self._interrupt = Interrupt()
        self._calls = Calls(self._interrupt)
        self._cancelling = threading.Lock()
        self._making = threading.Lock()
        self._payload: Any = None
        self._port = port
        self._waiting: Waiting | None = None
        if port is not None:
            self._context.wait_by(self._made_waiting)

    @property
    def context(self) -> RunContext:
        """What the task's code sees as `context`."""
        return self._context

    def run(self) -> Outcome:
        """The attempt's outcome, as the wire has it. Whatever user code does short of ending the process is told."""
        task = self._registry.tasks.get(self._assignment["task"]["id"])
        if task is None:
            wanted = self._assignment["task"]["id"]
            return failure(internal(ErrorCode.COULD_NOT_FIND_TASK, f"no task {wanted!r} was imported"))
        before = contexts.enter(self._context)
        try:
            return self._guarded(task)
        finally:
            with self._cancelling:  # hooks of a cancellation still run: they speak of this run
                contexts.enter(before)

    def cancel(self, reason: str) -> None:
        """The user cancelled the run: `on_cancel` hooks, then `RunCancelledError` in the task's code."""
        with self._cancelling:
            if self._interrupt.requested or self._interrupt.is_over:
                return
            self._interrupt.requested = True
            self._context.signal.set()
            hooks = threading.Thread(target=self._run_cancel_hooks, args=(reason,), name="sojourn-cancel", daemon=True)
            hooks.start()
            hooks.join(self._cancel_budget)
            self._interrupt.send()

    def deliver(self, done: Mapping[str, Mapping[str, Any]]) -> None:
        """Results of waits by their keys, from any thread."""
        if self._waiting is not None:
            self._waiting.deliver(done)

    def thawed(self) -> None:
        """The process was frozen: called before what it waited for is delivered, from any thread."""
        if self._waiting is not None:
            self._waiting.thawed(self._calls.loop)

    def refuse(self, keys: Sequence[str], error: Exception) -> None:
        """The waits of these keys get an error, from any thread."""
        if self._waiting is not None:
            self._waiting.fail(keys, error)

    # --- the way of an attempt

    def _guarded(self, task: Task) -> Outcome:
        try:
            try:
                self._interrupt.begin()
                outcome = self._attempt(task)
            finally:
                self._interrupt.end()
                self._close()
        except RunCancelledError:
            self._interrupt.end()
            self._close()
            return outcomes.cancelled()
        except Exception as error:
            return failure(internal(ErrorCode.TASK_EXECUTION_FAILED, f"{type(error).__name__}: {error}", error))
        return outcomes.cancelled() if self._interrupt.requested else outcome

    def _attempt(self, task: Task) -> Outcome:
        if self._is_hook:
            return self._tell_end(task)
        offered = self._offered()
        try:
            arguments = self._read_payload(task)
        except (PayloadError, TaskDefinitionError) as error:
            code = ErrorCode.TASK_INPUT_ERROR if isinstance(error, PayloadError) else ErrorCode.CONFIGURED_INCORRECTLY
            return self._final_failure(task, internal(code, str(error)), error, offered, skipped=True)
        offered["payload"] = self._payload
        try:
            text, value = self._run_task(task, arguments, offered)
        except RunCancelledError:
            raise
        except MiddlewareError as error:
            return self._failed(task, error.__cause__ or error, offered, ErrorCode.TASK_MIDDLEWARE_ERROR)
        except OutputError as error:
            told = internal(ErrorCode.TASK_OUTPUT_ERROR, str(error))
            return self._final_failure(task, told, error, offered, skipped=True)
        except BaseException as error:
            return self._failed(task, error, offered)
        result = TaskResult(True, self._context.run.id, task.id, output=value)
        self._after("on_success", task, {**offered, "output": value})
        self._after("on_complete", task, {**offered, "result": result})
        return outcomes.success(text)

    def _tell_end(self, task: Task) -> Outcome:
        """This run is the platform's: `on_end` hooks are told how another one ended, and again if one of them fails."""
        told = self._assignment["end"]
        try:
            self._payload = given_payload(task, told.get("payload"), told.get("payloadType"))
            offered = {**self._offered(), "end": RunEnd(told)}
            for hook in self._hooks("on_end", task):
                self._calls.step(hook, fitting(hook, offered))
        except RunCancelledError:
            raise
        except BaseException as error:
            self._interrupt.check()
            return self._try_again(None, error, describe(error)) or failure(describe(error), skipped=retrying.never(error))
        return outcomes.success("null")

    def _read_payload(self, task: Task) -> tuple[list[Any], dict[str, Any]]:
        """The task's arguments, by position and by name."""
        run = self._assignment["run"]
        payload = read_payload(task, run.get("payload"), run.get("payloadType"))
        self._payload = payload.value
        if task.context_name is None:
            return ([] if payload.is_left_out else [payload.value]), {}
        if payload.is_left_out:
            return [], {task.context_name: self._context}
        return [payload.value, self._context], {}

    def _run_task(self, task: Task, arguments: Any, offered: dict[str, Any]) -> tuple[str, Any]:
        """The task's value, as JSON text and as it is."""
        try:
            return self._inside(self._hooks("middleware", task), task, arguments, offered)
        except CompleteTaskWithOutput as done:
            return encode(done.output), done.output

    def _inside(self, middleware: list[Hook], task: Task, arguments: Any, offered: dict[str, Any]) -> tuple[str, Any]:
        if middleware:
            with Around(middleware[0], offered, self._calls.call):
                return self._inside(middleware[1:], task, arguments, offered)
            return encode(None), None  # the middleware has dealt with an error
        for hook in self._hooks("on_start_attempt", task):
            self._calls.step(hook, fitting(hook, offered))
        try:
            value = self._calls.step(task.function, arguments[1], *arguments[0])
        except CompleteTaskWithOutput as done:
            value = done.output
        return encode(value), value

    def _made_waiting(self) -> Waiting:
        from sojourn.sdk.wait_hooks import WaitHooks
        from sojourn.sdk.waiting import SHORT, Waiting

        assert self._port is not None
        with self._making:
            if self._waiting is None:
                task = self._registry.tasks[self._assignment["task"]["id"]]
                hooks = WaitHooks(lambda name: self._hooks(name, task), self._offered, self._calls.step)
                number = self._assignment["attempt"]["number"]
                short = (self._assignment.get("waiting") or {}).get("short", SHORT)
                self._waiting = Waiting(number, self._port, self._interrupt, hooks, short, self._now)
                self._interrupt.on_sent = self._waiting.wake
            return self._waiting

    def _offered(self) -> dict[str, Any]:
        return {"payload": self._payload, "ctx": self._context, "signal": self._context.signal}

    def _close(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
        self._calls.close()

    # --- failures

    def _failed(self, task: Task, error: BaseException, offered: dict[str, Any], code: ErrorCode | None = None) -> Outcome:
        self._interrupt.check()
        if isinstance(error, OutOfMemoryError | MemoryError):
            return failure(internal(ErrorCode.TASK_PROCESS_OOM_KILLED, str(error) or type(error).__name__, error))
        decided: Any = None
        try:
            if not retrying.never(error):
                decided = self._catch(task, error, offered)
        except Exception as broken:
            told = internal(ErrorCode.HANDLE_ERROR_ERROR, f"catch_error raised {type(broken).__name__}: {broken}", broken)
            return self._final_failure(task, told, broken, offered)
        replaced = decided if isinstance(decided, BaseException) else getattr(decided, "error", None)
        if replaced is not None:
            error, code = replaced, None
        told = describe(error) if code is None else internal(code, f"{type(error).__name__}: {error}", error)
        again = self._try_again(decided, error, told)
        if again is not None:
            return again
        skipped = isinstance(decided, Skip) or retrying.never(error)
        return self._final_failure(task, told, error, offered, skipped=skipped)

    def _try_again(self, decided: Any, error: BaseException, told: dict[str, Any]) -> Outcome | None:
        """The failure that another attempt follows; None where none does."""
        wait = self._pause(decided, error)
        if wait is None:
            return None
        return failure(told, {"delay": round(wait * 1000), "timestamp": round((self._now() + wait) * 1000)})

    def _catch(self, task: Task, error: BaseException, offered: dict[str, Any]) -> Any:
        """The first answer of a `catch_error` hook; None for the task's own policy."""
        for hook in (*task.hooks.of("catch_error"), *self._registry.hooks.of("catch_error")):
            decided = self._calls.step(hook, fitting(hook, {**offered, "error": error}))
            retrying.check(decided)
            if decided:
                return decided
        return None

    def _pause(self, decided: Any, error: BaseException) -> float | None:
        if retrying.never(error) and not isinstance(decided, RetryAt | RetryIn | Retry):
            return None
        retry = Retry.from_wire(self._assignment.get("retry") or {})
        number = self._assignment["attempt"]["number"]
        most = self._assignment["run"].get("maxAttempts") or 1
        return retrying.pause(decided, error, number, most, retry, self._unit_random(), self._now())

    def _final_failure(
        self, task: Task, told: dict[str, Any], error: BaseException, offered: dict[str, Any], *, skipped: bool = False
    ) -> Outcome:
        result = TaskResult(False, self._context.run.id, task.id, error=told)
        self._after("on_failure", task, {**offered, "error": error})
        self._after("on_complete", task, {**offered, "error": error, "result": result})
        return failure(told, skipped=skipped)

    # --- hooks that change nothing

    def _hooks(self, name: str, task: Task) -> list[Hook]:
        return [*self._registry.hooks.of(name), *task.hooks.of(name)]

    def _after(self, name: str, task: Task, offered: dict[str, Any]) -> None:
        for hook in self._hooks(name, task):
            self._quietly(hook, offered, self._calls.step)

    def _run_cancel_hooks(self, reason: str) -> None:
        task = self._registry.tasks.get(self._assignment["task"]["id"])
        offered = {**self._offered(), "reason": reason}
        for hook in self._hooks("on_cancel", task) if task is not None and not self._is_hook else ():
            self._quietly(hook, offered, call_apart)

    @staticmethod
    def _quietly(hook: Hook, offered: dict[str, Any], call: Callable[..., Any]) -> None:
        try:
            call(hook, fitting(hook, offered))
        except RunCancelledError:
            raise
        except BaseException as error:
            name = getattr(hook, "__name__", hook)
            logger.error(f"the hook {name} raised {type(error).__name__}: {outcomes.text_of(error)}")


def run_attempt(registry: Registry, assignment: Mapping[str, Any]) -> Outcome:
    """Executes one attempt here and now; its outcome as the wire has it."""
    return Attempt(registry, assignment).run()


def flush_standard_streams() -> None:
    """What user code printed is on its way before the outcome is told."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue


def _wall() -> float:
    return time.time()


def _draw() -> float:
    import random

    return random.random()  # noqa: S311 - a jitter
