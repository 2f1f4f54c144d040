"""From exit codes to errors."""

from __future__ import annotations

import signal

import pytest

from sojourn.executor_shim.ends import Killed, error_of
from sojourn.sdk.protocol import ErrorCode, ErrorKind


@pytest.mark.parametrize(
    ("exit_code", "killed", "code", "text"),
    [
        (3, None, ErrorCode.TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE, "code 3"),
        (0, None, ErrorCode.TASK_RUN_CRASHED, "code 0"),
        (None, None, ErrorCode.TASK_RUN_CRASHED, "lost"),
        (-signal.SIGSEGV, None, ErrorCode.TASK_PROCESS_SIGSEGV, "SIGSEGV"),
        (-signal.SIGTERM, None, ErrorCode.TASK_PROCESS_SIGTERM, "SIGTERM"),
        (-signal.SIGKILL, None, ErrorCode.TASK_PROCESS_MAYBE_OOM_KILLED, "SIGKILL"),
        (-signal.SIGFPE, None, ErrorCode.TASK_RUN_CRASHED, "SIGFPE"),
        (-63, None, ErrorCode.TASK_RUN_CRASHED, "signal 63"),
        (-9, Killed.OUT_OF_MEMORY, ErrorCode.TASK_PROCESS_OOM_KILLED, "the detail"),
        (-9, Killed.MAX_DURATION, ErrorCode.MAX_DURATION_EXCEEDED, "the detail"),
        (-15, Killed.CANCELLED, ErrorCode.TASK_RUN_CANCELLED, "cancelled"),
        (-9, Killed.STOPPED, ErrorCode.TASK_RUN_CRASHED, "the detail"),
        (0, Killed.DRAINED, ErrorCode.GRACEFUL_EXIT_TIMEOUT, "leave"),
    ],
)
def test_an_end_becomes_an_error(exit_code: int | None, killed: Killed | None, code: ErrorCode, text: str) -> None:
    error = error_of(exit_code, killed, "the detail", "last lines")
    assert (error["type"], error["code"], error["stackTrace"]) == (ErrorKind.INTERNAL_ERROR, code, "last lines")
    assert text in error["message"]


def test_every_reason_of_ours_has_an_error() -> None:
    assert all(error_of(None, killed)["message"] for killed in Killed)
    assert "stackTrace" not in error_of(1, None)
