"""How a user process that told no outcome ended: from its exit code to an error of the wire. Pure."""

from __future__ import annotations

import signal
from enum import StrEnum

from sojourn.sdk.protocol import ErrorCode, ErrorKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Killed(StrEnum):
    """Why the shim itself ended the process."""

    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    MAX_DURATION = "MAX_DURATION"
    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"
    DRAINED = "DRAINED"


_BY_SIGNAL: dict[int, ErrorCode] = {
    signal.SIGSEGV: ErrorCode.TASK_PROCESS_SIGSEGV,
    signal.SIGTERM: ErrorCode.TASK_PROCESS_SIGTERM,
    signal.SIGKILL: ErrorCode.TASK_PROCESS_MAYBE_OOM_KILLED,
}
_BY_US: dict[Killed, tuple[ErrorCode, str]] = {
    Killed.OUT_OF_MEMORY: (
        ErrorCode.TASK_PROCESS_OOM_KILLED,
        "the process used more memory than its machine has: {detail}",
    ),
    Killed.MAX_DURATION: (ErrorCode.MAX_DURATION_EXCEEDED, "the attempt ran longer than its limit of {detail}"),
    Killed.CANCELLED: (ErrorCode.TASK_RUN_CANCELLED, "the run was cancelled"),
    Killed.STOPPED: (ErrorCode.TASK_RUN_CRASHED, "the process was ended: {detail}"),
    Killed.DRAINED: (ErrorCode.GRACEFUL_EXIT_TIMEOUT, "the executor had to leave"),
}


def error_of(exit_code: int | None, killed: Killed | None, detail: str = "", last_lines: str = "") -> dict[str, Any]:
    """The error of an attempt. `exit_code` is negative for a signal; `killed` wins, since it caused the rest."""
    if killed is not None:
        code, text = _BY_US[killed]
        return internal_error(code, text.format(detail=detail), last_lines)
    if exit_code is None:
        return internal_error(ErrorCode.TASK_RUN_CRASHED, "the process was lost", last_lines)
    if exit_code < 0:
        code = _BY_SIGNAL.get(-exit_code, ErrorCode.TASK_RUN_CRASHED)
        return internal_error(code, f"the process was ended by {_name(-exit_code)}", last_lines)
    if exit_code == 0:
        text = "the process exited with code 0 before the task returned"
        return internal_error(ErrorCode.TASK_RUN_CRASHED, text, last_lines)
    text = f"the process exited with code {exit_code}"
    return internal_error(ErrorCode.TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE, text, last_lines)


def internal_error(code: ErrorCode, message: str, last_lines: str = "") -> dict[str, Any]:
    """An error of the platform's own kind; the last lines of stderr stand for a stack."""
    error: dict[str, Any] = {"type": ErrorKind.INTERNAL_ERROR, "code": code, "message": message}
    if last_lines:
        error["stackTrace"] = last_lines
    return error


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
