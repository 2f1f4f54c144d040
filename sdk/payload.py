"""A stored payload as the value that a task takes."""

from __future__ import annotations

import json

from sojourn.sdk.errors import PayloadError, TaskDefinitionError
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.sdk.task import Task

_BUILTIN_KINDS = (str, int, float, bool, list, dict)


class Payload(Value):
    """`is_left_out`: the task is called without it, since it takes none or has a default where none was given."""

    __slots__ = ("is_left_out", "value")
    value: Any
    is_left_out: bool

    def __init__(self, value: Any, is_left_out: bool = False):
        self._keep(value, is_left_out)


def read_payload(task: Task, text: str | None, media_type: str | None) -> Payload:
    """The payload as the task's type hint says; `PayloadError` tells where it does not fit."""
    value = _parse(text, media_type)
    if not task.takes_payload:
        return Payload(value, is_left_out=True)
    if value is None and task.payload_is_optional:
        return Payload(None, is_left_out=True)
    hint = task.payload_hint()
    if hint is None or (type(value) is hint and hint in _BUILTIN_KINDS):
        return Payload(value)
    from sojourn.sdk import schema

    try:
        return Payload(schema.convert(value, hint))
    except (PayloadError, TaskDefinitionError):
        raise
    except RecursionError:
        raise PayloadError("payload: is nested too deeply") from None
    except Exception as error:
        raise PayloadError(f"payload: cannot be read as {hint!r}: {type(error).__name__}: {error}") from error


def given_payload(task: Task, text: str | None, media_type: str | None) -> Any:
    """The payload as the task takes it, or just as it was given where it does not fit the task."""
    try:
        return read_payload(task, text, media_type).value
    except (PayloadError, TaskDefinitionError):
        try:
            return _parse(text, media_type)
        except PayloadError:
            return text


def _parse(text: str | None, media_type: str | None) -> Any:
    if text is None or media_type == "text/plain":
        return text
    try:
        return json.loads(text)
    except RecursionError:
        raise PayloadError("payload: is nested too deeply") from None
    except ValueError as error:
        raise PayloadError(f"payload: is not JSON: {error}") from None
