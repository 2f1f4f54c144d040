"""How a user process that told no outcome ended: from its exit code to an error of the wire. Pure."""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import Any

from sojourn.sdk.protocol import ErrorCode, ErrorKind


class Killed(StrEnum):
    """Why the shim itself ended the process."""

    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    MAX_DURATION = "MAX_DURATION"
    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"
    DRAINED = "DRAINED"


_BY_SIGNAL = {
    signal.SIGSEGV: ErrorCode.TASK_PROCESS_SIGSEGV,
    signal.SIGTERM: ErrorCode.TASK_PROCESS_SIGTERM,
    signal.SIGKILL: ErrorCode.TASK_PROCESS_MAYBE_OOM_KILLED,
}


def error_of(exit_code: int | None, killed: Killed | None, detail: str = "", last_lines: str = "") -> dict[str, Any]:
    """The error of an attempt. `exit_code` is negative for a signal; `killed` wins, since it caused the rest."""
    if killed is Killed.OUT_OF_MEMORY:
        return _error(ErrorCode.TASK_PROCESS_OOM_KILLED, f"the process used more memory than its machine has: {detail}")
    if killed is Killed.MAX_DURATION:
        return _error(ErrorCode.MAX_DURATION_EXCEEDED, f"the attempt ran longer than its limit of {detail}")
    if killed is Killed.CANCELLED:
        return _error(ErrorCode.TASK_RUN_CANCELLED, "the run was cancelled")
    if killed is Killed.DRAINED:
        return _error(ErrorCode.GRACEFUL_EXIT_TIMEOUT, "the executor had to leave")
    if exit_code is None:
        return _error(ErrorCode.TASK_EXECUTION_ABORTED, f"the process was ended: {detail}", last_lines)
    if exit_code < 0:
        return _by_signal(-exit_code, last_lines)
    if exit_code == 0:
        return _error(ErrorCode.TASK_RUN_CRASHED, "the process exited with code 0 before the task returned", last_lines)
    return _error(ErrorCode.TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE, f"the process exited with code {exit_code}", last_lines)


def _by_signal(number: int, last_lines: str) -> dict[str, Any]:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    code = _BY_SIGNAL.get(number, ErrorCode.TASK_RUN_CRASHED)  # type: ignore[call-overload]
    return _error(code, f"the process was ended by {name}", last_lines)


def _error(code: ErrorCode, message: str, last_lines: str = "") -> dict[str, Any]:
    error: dict[str, Any] = {"type": ErrorKind.INTERNAL_ERROR, "code": code, "message": message}
    if last_lines:
        error["stackTrace"] = last_lines
    return error
