"""Outcomes of attempts and their errors, as the wire has them; nothing in them can be more than the wire can carry."""

from __future__ import annotations

import os

from sojourn.sdk.protocol import MAX_ERROR_TEXT_BYTES, ErrorCode, ErrorKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Outcome = dict[str, Any]

_MAX_NAME_BYTES = 1_024
_MAX_FRAMES = 50
_CUT = "\n… cut …\n"


def success(text: str) -> Outcome:
    """The run's output as JSON text."""
    return {"ok": True, "output": text, "outputType": "application/json"}


def failure(error: dict[str, Any], retry: dict[str, int] | None = None, *, skipped: bool = False) -> Outcome:
    """A failed attempt. `retry`: `{delay, timestamp}` in ms; `skipped`: no attempt may follow, whatever is left."""
    return {"ok": False, "error": error, "retry": retry, "skippedRetrying": skipped}


def cancelled() -> Outcome:
    """The attempt was stopped since its run was cancelled."""
    return failure(internal(ErrorCode.TASK_RUN_CANCELLED, "the run was cancelled"), skipped=True)


def internal(code: ErrorCode, message: str, cause: BaseException | None = None) -> dict[str, Any]:
    """An error of the platform's own kinds; `cause` gives it a stack."""
    told = {"type": ErrorKind.INTERNAL_ERROR, "code": code, "message": clean(message, MAX_ERROR_TEXT_BYTES)}
    return told if cause is None else {**told, "stackTrace": _stack(cause)}


def describe(error: BaseException) -> dict[str, Any]:
    """A user's exception."""
    return {
        "type": ErrorKind.BUILT_IN_ERROR,
        "name": clean(type(error).__name__, _MAX_NAME_BYTES),
        "message": clean(text_of(error), MAX_ERROR_TEXT_BYTES),
        "stackTrace": _stack(error),
    }


def text_of(error: BaseException) -> str:
    """An exception's text, whatever its `__str__` does."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} whose text cannot be had>"


def clean(text: str, most: int) -> str:
    """Text that every reader can hold: no NUL, no lone surrogate, so many bytes of UTF-8 at most, cut in the middle."""
    text = text[:most] if len(text) > 4 * most else text
    data = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace")
    if len(data) > most:
        half = (most - len(_CUT.encode())) // 2
        data = data[:half] + _CUT.encode() + data[-half:]
    return data.decode("utf-8", "ignore")


def _stack(error: BaseException) -> str:
    import traceback

    try:
        lines = traceback.format_exception(type(error), error, _users_own(error), limit=-_MAX_FRAMES)
    except Exception as broken:  # a user's exception may break what formats it
        lines = [f"<{type(error).__name__} whose traceback cannot be had: {type(broken).__name__}>"]
    return clean("".join(lines), MAX_ERROR_TEXT_BYTES)


def _users_own(error: BaseException) -> Any:
    """The traceback without the frames at its top that brought the user's code about."""
    ours = (os.path.dirname(__file__), os.path.dirname(os.__file__) + os.sep + "asyncio")
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(ours):
        trace = trace.tb_next
    return trace
