"""One attempt of a task in this process: payload in, hooks and middleware around, outcome out.

Order: payload converted; middleware (project's, then the task's) outermost; `on_start_attempt`; the task;
`on_success` or, after a failure that is final, `on_failure`; `on_complete`. Project hooks come before the task's,
`catch_error` the other way round. Errors in `on_success`, `on_failure` and `on_complete` are logged and change nothing.
"""

from __future__ import annotations

import ctypes
import inspect
import json
import random
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from sojourn.sdk import context as contexts
from sojourn.sdk import encoding, schema
from sojourn.sdk.context import RunContext
from sojourn.sdk.decision import RetryAt, RetryIn, Skip
from sojourn.sdk.errors import (
    AbortTaskRunError,
    ApiError,
    CompleteTaskWithOutput,
    OutOfMemoryError,
    OutputError,
    PayloadError,
    RunCancelledError,
)
from sojourn.sdk.hooks import fitting
from sojourn.sdk.logger import logger
from sojourn.sdk.options import Retry
from sojourn.sdk.protocol import MAX_ERROR_TEXT_BYTES, ErrorCode, ErrorKind
from sojourn.sdk.registry import Registry
from sojourn.sdk.task import Task

Outcome = dict[str, Any]

#: SIGUSR1: the executor's process raises `RunCancelledError` in its handler.
CANCEL_SIGNAL = 10


class _MiddlewareError(Exception):
    """A middleware raised, not the task."""


class Attempt:
    """One attempt. `run` is called once; `cancel` may be called meanwhile from another thread."""

    def __init__(self, registry: Registry, assignment: Mapping[str, Any], unit_random: Callable[[], float] = random.random):
        self._registry = registry
        self._assignment = assignment
        self._unit_random = unit_random
        self._context = RunContext(assignment)
        self._runner: Any = None
        self._thread: int | None = None
        self._loop_task: Any = None
        self._cancelled = threading.Event()
        self._payload: Any = None

    @property
    def context(self) -> RunContext:
        """What the task's code sees as `context`."""
        return self._context

    def run(self) -> Outcome:
        """The attempt's outcome, as the wire has it. Whatever user code does short of ending the process is told."""
        task = self._registry.tasks.get(self._assignment["task"]["id"])
        if task is None:
            return _internal(ErrorCode.COULD_NOT_FIND_TASK, f"no task {self._assignment['task']['id']!r} was imported")
        contexts.enter(self._context)
        self._thread = threading.get_ident()
        try:
            return self._attempt(task)
        except RunCancelledError:
            return _cancelled_outcome()
        finally:
            self._thread = None
            if self._runner is not None:
                self._runner.close()
                self._runner = None
            contexts.enter(None)

    def cancel(self, reason: str) -> None:
        """The user cancelled the run: `on_cancel` hooks, then `RunCancelledError` in the task's code."""
        self._cancelled.set()
        self._context.signal.set()
        task = self._registry.tasks.get(self._assignment["task"]["id"])
        if task is not None:
            for hook in (*self._registry.hooks.of("on_cancel"), *task.hooks.of("on_cancel")):
                self._quietly(hook, {"payload": self._payload, "ctx": self._context, "reason": reason})
        loop_task, thread = self._loop_task, self._thread
        if loop_task is not None:
            loop_task.get_loop().call_soon_threadsafe(loop_task.cancel)
        elif thread is not None:
            _interrupt(thread)

    @property
    def is_running(self) -> bool:
        """Whether user code is under way, so that an interruption reaches it and nothing else."""
        return self._thread is not None

    # --- the way of an attempt

    def _attempt(self, task: Task) -> Outcome:
        try:
            self._payload = self._read_payload(task)
        except PayloadError as error:
            return _internal(ErrorCode.TASK_INPUT_ERROR, str(error), skipped=True)
        except ValueError as error:
            return _internal(ErrorCode.TASK_INPUT_ERROR, f"the payload is not JSON: {error}", skipped=True)
        offered = {"payload": self._payload, "ctx": self._context, "signal": self._context.signal}
        try:
            text, value = self._inside_middleware(task, offered)
        except RunCancelledError:
            raise
        except _MiddlewareError as error:
            return self._failed(task, error.__cause__ or error, offered, ErrorCode.TASK_MIDDLEWARE_ERROR)
        except OutputError as error:
            return self._final_failure(task, _internal_error(ErrorCode.TASK_OUTPUT_ERROR, str(error)), error, offered)
        except BaseException as error:
            return self._failed(task, error, offered, None)
        self._after("on_success", task, {**offered, "output": value})
        self._after("on_complete", task, {**offered, "result": {"ok": True, "data": value}})
        if self._cancelled.is_set():
            return _cancelled_outcome()
        return {"ok": True, "output": text, "outputType": "application/json"}

    def _read_payload(self, task: Task) -> Any:
        given = self._assignment["run"]
        text = given.get("payload")
        if given.get("payloadType") == "text/plain":
            value: Any = text
        else:
            value = None if text is None else json.loads(text)
        if not task.takes_payload:
            return value
        try:
            return schema.convert(value, task.payload_hint())
        except RecursionError as error:
            raise PayloadError("payload: is nested too deeply") from error

    def _inside_middleware(self, task: Task, offered: dict[str, Any]) -> tuple[str, Any]:
        with ExitStack() as stack:
            for hook in (*self._registry.hooks.of("middleware"), *task.hooks.of("middleware")):
                stack.enter_context(_around(hook, fitting(hook, offered)))
            for hook in (*self._registry.hooks.of("on_start_attempt"), *task.hooks.of("on_start_attempt")):
                self._call(hook, fitting(hook, offered))
            try:
                arguments = [self._payload] if task.takes_payload else []
                value = self._call(task.function, {}, *arguments, *([self._context] if task.takes_context else []))
            except CompleteTaskWithOutput as done:
                value = done.output
            return encoding.encode(value), value

    def _call(self, function: Callable[..., Any], named: Mapping[str, Any], *arguments: Any) -> Any:
        """Runs `def` and `async def` alike; all coroutines of an attempt share one event loop."""
        value = function(*arguments, **named)
        if not inspect.iscoroutine(value):
            return value
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()

        async def tracked() -> Any:
            self._loop_task = asyncio.current_task()
            try:
                return await value
            finally:
                self._loop_task = None

        try:
            return self._runner.run(tracked())
        except asyncio.CancelledError:
            if self._cancelled.is_set():
                raise RunCancelledError from None
            raise RuntimeError("the task's coroutine was cancelled by its own code") from None

    # --- failures

    def _failed(self, task: Task, error: BaseException, offered: dict[str, Any], code: ErrorCode | None) -> Outcome:
        if self._cancelled.is_set():
            return _cancelled_outcome()
        told = _internal_error(code, str(error)) if code else describe(error)
        if isinstance(error, OutOfMemoryError | MemoryError):
            return {
                "ok": False,
                "error": _internal_error(ErrorCode.TASK_PROCESS_OOM_KILLED, str(error) or "MemoryError"),
            }
        if _never_retried(error):
            return self._final_failure(task, told, error, offered)
        try:
            decided = self._catch(task, error, offered)
        except Exception as broken:
            message = f"catch_error raised {type(broken).__name__}: {broken}"
            return self._final_failure(task, _internal_error(ErrorCode.HANDLE_ERROR_ERROR, message), broken, offered)
        wait = self._wait(decided, error)
        if wait is None:
            return self._final_failure(task, told, error, offered, skipped=isinstance(decided, Skip))
        at = datetime.now(UTC).timestamp() + wait
        retry = {"delay": round(wait * 1000), "timestamp": round(at * 1000)}
        return {"ok": False, "error": told, "retry": retry, "skippedRetrying": False}

    def _catch(self, task: Task, error: BaseException, offered: dict[str, Any]) -> Any:
        """The first answer of a `catch_error` hook; None for the task's own policy."""
        for hook in (*task.hooks.of("catch_error"), *self._registry.hooks.of("catch_error")):
            decided = self._call(hook, fitting(hook, {**offered, "error": error}))
            if decided:
                return decided
        return None

    def _wait(self, decided: Any, error: BaseException) -> float | None:
        """Seconds until the next attempt; None when there is none."""
        number = self._assignment["attempt"]["number"]
        most = self._assignment["run"].get("maxAttempts") or 1
        if isinstance(decided, Skip) or number >= most:
            return None
        if isinstance(decided, RetryAt):
            return max((decided.when - datetime.now(UTC)).total_seconds(), 0)
        if isinstance(decided, RetryIn):
            return max(decided.seconds, 0)
        if isinstance(decided, Retry):
            return decided.delay(number, self._unit_random()) if number < decided.max_attempts else None
        if decided is not None:
            raise TypeError(f"catch_error gives Skip, RetryAt, RetryIn, Retry or None, not {decided!r}")
        if isinstance(error, ApiError) and error.status == 429 and "x-ratelimit-reset" in error.headers:
            return max(int(error.headers["x-ratelimit-reset"]) / 1000 - datetime.now(UTC).timestamp(), 0)
        return Retry.from_wire(self._assignment.get("retry") or {}).delay(number, self._unit_random())

    def _final_failure(
        self, task: Task, told: dict[str, Any], error: BaseException, offered: dict[str, Any], *, skipped: bool = True
    ) -> Outcome:
        self._after("on_failure", task, {**offered, "error": error})
        self._after("on_complete", task, {**offered, "result": {"ok": False, "error": error}})
        return {"ok": False, "error": told, "retry": None, "skippedRetrying": skipped}

    def _after(self, name: str, task: Task, offered: dict[str, Any]) -> None:
        for hook in (*self._registry.hooks.of(name), *task.hooks.of(name)):
            self._quietly(hook, offered)

    def _quietly(self, hook: Callable[..., Any], offered: dict[str, Any]) -> None:
        try:
            value = hook(**fitting(hook, offered))
            if inspect.iscoroutine(value):
                import asyncio

                asyncio.run(value)
        except Exception as error:
            logger.error(f"the hook {getattr(hook, '__name__', hook)} raised {type(error).__name__}: {error}")


def _interrupt(thread: int) -> None:
    """`RunCancelledError` in a thread. A signal cuts a blocking call short; without a handler for it, or in another
    thread than the first, the error comes with the thread's next step."""
    import signal

    if thread == threading.main_thread().ident and callable(signal.getsignal(CANCEL_SIGNAL)):
        signal.pthread_kill(thread, CANCEL_SIGNAL)
    else:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(RunCancelledError))


def run_attempt(registry: Registry, assignment: Mapping[str, Any]) -> Outcome:
    """Executes one attempt here and now; its outcome as the wire has it."""
    return Attempt(registry, assignment).run()


@contextmanager
def _around(hook: Callable[..., Any], named: Mapping[str, Any]) -> Generator[None, None, None]:
    """A middleware is a generator function: what comes before `yield` runs first, what comes after runs last."""
    try:
        steps = hook(**named)
        if not inspect.isgenerator(steps):
            raise TypeError(f"the middleware {getattr(hook, '__name__', hook)} has no `yield` where the task runs")
        next(steps)
    except StopIteration:
        raise _MiddlewareError from RuntimeError("the middleware ended before its `yield`")
    except Exception as error:
        raise _MiddlewareError from error
    try:
        yield
    except BaseException as error:
        try:
            steps.throw(error)
        except StopIteration:
            return  # it swallowed the error, as a `with` block may
        raise
    try:
        next(steps)
    except StopIteration:
        return
    except Exception as error:
        raise _MiddlewareError from error
    raise _MiddlewareError from RuntimeError("the middleware yields more than once")


def describe(error: BaseException) -> dict[str, Any]:
    """A user's exception as the wire has it, its texts cut to what is kept."""
    stack = "".join(traceback.format_exception(type(error), error, _users_own(error), limit=50))
    return {
        "type": ErrorKind.BUILT_IN_ERROR,
        "name": type(error).__name__[:1024],
        "message": _text(error)[:MAX_ERROR_TEXT_BYTES],
        "stackTrace": stack[-MAX_ERROR_TEXT_BYTES:],
    }


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} whose text cannot be had>"


def _users_own(error: BaseException) -> Any:
    """The traceback without this module's frames at its top."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _never_retried(error: BaseException) -> bool:
    if isinstance(error, AbortTaskRunError):
        return True
    return (
        isinstance(error, ApiError)
        and error.status is not None
        and 400 <= error.status < 500
        and error.status
        not in (
            408,
            429,
        )
    )


def _internal_error(code: ErrorCode, message: str) -> dict[str, Any]:
    return {"type": ErrorKind.INTERNAL_ERROR, "code": code, "message": message[:MAX_ERROR_TEXT_BYTES]}


def _internal(code: ErrorCode, message: str, *, skipped: bool = False) -> Outcome:
    return {"ok": False, "error": _internal_error(code, message), "retry": None, "skippedRetrying": skipped}


def _cancelled_outcome() -> Outcome:
    return _internal(ErrorCode.TASK_RUN_CANCELLED, "the run was cancelled", skipped=True)


def flush_standard_streams() -> None:
    """What user code printed is on its way before the outcome is told."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
