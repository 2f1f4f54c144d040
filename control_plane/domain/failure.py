"""What becomes of an attempt that did not succeed: a pure decision, and the status each error code ends in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sojourn.sdk.protocol import MACHINES, MAX_ATTEMPTS, MAX_ERROR_TEXT_BYTES, ErrorCode, ErrorKind, RunStatus

C = ErrorCode

_ENDS_AS: dict[RunStatus, frozenset[ErrorCode]] = {
    RunStatus.FAILED: frozenset(
        {
            C.RECURSIVE_WAIT_DEADLOCK,
            C.TASK_INPUT_ERROR,
            C.TASK_OUTPUT_ERROR,
            C.TASK_MIDDLEWARE_ERROR,
            C.TASK_RUN_UNCAUGHT_EXCEPTION,
            C.TASK_RUN_STALLED_EXECUTING,
            C.TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS,
        }
    ),
    RunStatus.CANCELED: frozenset({C.TASK_RUN_CANCELLED}),
    RunStatus.TIMED_OUT: frozenset({C.MAX_DURATION_EXCEEDED}),
    RunStatus.CRASHED: frozenset(
        {
            C.TASK_PROCESS_OOM_KILLED,
            C.TASK_PROCESS_MAYBE_OOM_KILLED,
            C.TASK_PROCESS_SIGSEGV,
            C.DISK_SPACE_EXCEEDED,
            C.OUTDATED_SDK_VERSION,
            C.HANDLE_ERROR_ERROR,
            C.TASK_RUN_CRASHED,
            C.TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE,
            C.CHECKPOINT_INVALID,
            C.THAW_FAILED,
        }
    ),
}

#: Codes that are never retried; the out-of-memory ones may still move to a larger machine.
NOT_RETRYABLE = frozenset(
    {
        C.COULD_NOT_FIND_EXECUTOR,
        C.COULD_NOT_FIND_TASK,
        C.COULD_NOT_IMPORT_TASK,
        C.CONFIGURED_INCORRECTLY,
        C.TASK_ALREADY_RUNNING,
        C.TASK_PROCESS_SIGKILL_TIMEOUT,
        C.TASK_PROCESS_OOM_KILLED,
        C.TASK_PROCESS_MAYBE_OOM_KILLED,
        C.TASK_RUN_CANCELLED,
        C.MAX_DURATION_EXCEEDED,
        C.DISK_SPACE_EXCEEDED,
        C.OUTDATED_SDK_VERSION,
        C.TASK_RUN_HEARTBEAT_TIMEOUT,
        C.TASK_DID_CONCURRENT_WAIT,
        C.RECURSIVE_WAIT_DEADLOCK,
        C.TASK_DEQUEUED_INVALID_STATE,
        C.TASK_DEQUEUED_QUEUE_NOT_FOUND,
        C.TASK_HAS_N0_EXECUTION_SNAPSHOT,
        C.TASK_RUN_DEQUEUED_MAX_RETRIES,
        C.BATCH_ITEM_COULD_NOT_TRIGGER,
        C.PAYLOAD_TOO_LARGE,
        C.UNSPECIFIED_ERROR,
    }
)

#: The process is gone, so no executor can say when to try again: the run's own retry options do.
LOOKED_UP = frozenset(
    {
        C.TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE,
        C.TASK_PROCESS_SIGTERM,
        C.TASK_PROCESS_SIGSEGV,
        C.TASK_RUN_UNCAUGHT_EXCEPTION,
        C.TASK_MIDDLEWARE_ERROR,
        C.TASK_RUN_CRASHED,
        C.CHECKPOINT_INVALID,
        C.THAW_FAILED,
    }
)
#: An executor had no room for a process of the user's, and hands the run back with this.
NO_ROOM = C.TASK_EXECUTION_ABORTED
OUT_OF_MEMORY = frozenset({C.TASK_PROCESS_OOM_KILLED, C.TASK_PROCESS_MAYBE_OOM_KILLED})
LOST = frozenset({C.TASK_RUN_STALLED_EXECUTING, C.TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS})
#: A lost executor says nothing about the task, so its run is tried again at once, through the queue.
LOST_RETRY_DELAY = timedelta(milliseconds=250)


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How a run is retried; `max_attempts` counts the first. Times in milliseconds."""

    max_attempts: int = 3
    factor: float = 2.0
    min_timeout_ms: int = 1_000
    max_timeout_ms: int = 60_000
    randomize: bool = True
    out_of_memory_machine: str | None = None

    @classmethod
    def from_manifest(cls, retry: Mapping[str, Any] | None) -> RetryOptions:
        """The options as a version's manifest has them (camelCase); absent ones take their defaults."""
        retry = retry or {}
        return cls(
            max_attempts=int(retry.get("maxAttempts", 3)),
            factor=float(retry.get("factor", 2)),
            min_timeout_ms=int(retry.get("minTimeoutInMs", 1_000)),
            max_timeout_ms=int(retry.get("maxTimeoutInMs", 60_000)),
            randomize=bool(retry.get("randomize", True)),
            out_of_memory_machine=(retry.get("outOfMemory") or {}).get("machine"),
        )

    def delay(self, attempt: int, unit_random: float) -> timedelta:
        """The wait after `attempt` (1 = the first) failed; `unit_random` in [0, 1) is the caller's draw."""
        stretch = 1 + unit_random if self.randomize else 1
        try:
            grown = stretch * self.min_timeout_ms * self.factor ** (attempt - 1)
        except OverflowError:
            grown = self.max_timeout_ms
        return timedelta(milliseconds=round(min(self.max_timeout_ms, grown)))


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed: the error as the wire has it, and when its executor would try again, if it said so."""

    error: Mapping[str, Any]
    retry_at: datetime | None = None
    skipped_retrying: bool = False
    #: The executor is gone, so that a retry must go through the queue.
    executor_lost: bool = False

    @property
    def code(self) -> ErrorCode | None:
        """The code of an internal error; None for the user's own errors."""
        if self.error.get("type") != ErrorKind.INTERNAL_ERROR:
            return None
        try:
            return ErrorCode(self.error.get("code", ""))
        except ValueError:
            return ErrorCode.UNSPECIFIED_ERROR


@dataclass(frozen=True, slots=True)
class RetryNow:
    """The executor keeps the run and starts again at `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Through the queue at `at`, on another `machine` if one is named."""

    at: datetime
    machine: str | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The run ends in `status`."""

    status: RunStatus
    error: Mapping[str, Any] = field(default_factory=dict)


Decision = RetryNow | RetryLater | Fail


def final_status(error: Mapping[str, Any]) -> RunStatus:
    """The status that a run ends in when its last attempt failed with `error`."""
    if error.get("type") != ErrorKind.INTERNAL_ERROR:
        return RunStatus.FAILED
    code = error.get("code")
    for status, codes in _ENDS_AS.items():
        if code in codes:
            return status
    return RunStatus.SYSTEM_FAILURE


def decide(
    failure: Failure,
    *,
    attempt: int,
    max_attempts: int,
    machine: str,
    options: RetryOptions,
    now: datetime,
    immediate_below: timedelta,
    unit_random: float,
) -> Decision:
    """Retry or fail after attempt number `attempt` ended with `failure`.

    `immediate_below`: a shorter wait is spent in the executor, a longer one in the queue.
    """
    give_up = Fail(final_status(failure.error), failure.error)
    code = failure.code
    if attempt >= min(max_attempts, MAX_ATTEMPTS) or failure.skipped_retrying:
        return give_up
    if code in OUT_OF_MEMORY:
        larger = options.out_of_memory_machine
        if larger is None or larger == machine or larger not in MACHINES:
            return give_up
        return RetryLater(now + options.delay(attempt, unit_random), larger)
    if code in NOT_RETRYABLE:
        return give_up
    if code in LOST:
        return RetryLater(now + LOST_RETRY_DELAY)
    if failure.retry_at is not None and not failure.executor_lost:
        wait = max(failure.retry_at - now, timedelta(0))
        return RetryNow(now + wait) if wait < immediate_below else RetryLater(failure.retry_at)
    if code in LOOKED_UP:
        return RetryLater(now + options.delay(attempt, unit_random))
    return give_up


def internal_error(code: ErrorCode, message: str) -> dict[str, str]:
    """The platform's own error as the wire has it."""
    return {"type": ErrorKind.INTERNAL_ERROR, "code": code, "message": message}


def truncated(error: Mapping[str, Any]) -> dict[str, Any]:
    """`error` with its texts cut to what is stored: 1 KB of name, 16 KB of message, stack and raw text."""
    kept: dict[str, Any] = {}
    for name, value in error.items():
        limit = 1024 if name in ("name", "type", "code") else MAX_ERROR_TEXT_BYTES
        kept[str(name)[:64]] = _cut(value, limit) if isinstance(value, str) else _cut(str(value), limit)
    return kept


def _cut(text: str, limit: int) -> str:
    # PostgreSQL keeps neither NUL nor half a surrogate pair; a visible mark stands for them.
    raw = text.replace("\x00", "\u2400").encode("utf-8", "replace")
    return raw.decode() if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore") + "…"
