"""Sojourn's public face: what a developer imports to write and trigger tasks.

Names are loaded when they are first used, so that importing a task costs no more than the task needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PLACES = {
    "AbortTaskRunError": "errors",
    "ApiError": "errors",
    "Client": "client",
    "CompleteTaskWithOutput": "errors",
    "OutOfMemoryError": "errors",
    "Queue": "options",
    "Retry": "options",
    "RetryAt": "decision",
    "RetryIn": "decision",
    "RunCancelledError": "errors",
    "RunHandle": "run",
    "RunTimeoutError": "errors",
    "Skip": "decision",
    "SojournError": "errors",
    "SubtaskUnwrapError": "errors",
    "TaskResult": "run",
    "configure": "client",
    "context": "context",
    "locals": "context",
    "logger": "logger",
    "runs": "run",
    "task": "task",
    "tasks": "task",
}

__all__ = sorted(_PLACES)  # noqa: PLE0605 - sorted(...) is a list of names

if TYPE_CHECKING:
    from sojourn.sdk.client import Client, configure
    from sojourn.sdk.context import context, locals
    from sojourn.sdk.decision import RetryAt, RetryIn, Skip
    from sojourn.sdk.errors import (
        AbortTaskRunError,
        ApiError,
        CompleteTaskWithOutput,
        OutOfMemoryError,
        RunCancelledError,
        RunTimeoutError,
        SojournError,
        SubtaskUnwrapError,
    )
    from sojourn.sdk.logger import logger
    from sojourn.sdk.options import Queue, Retry
    from sojourn.sdk.run import RunHandle, TaskResult, runs
    from sojourn.sdk.task import task, tasks


def __getattr__(name: str) -> Any:
    if name == "testing":
        return importlib.import_module("sojourn.sdk.testing")
    if name not in _PLACES:
        raise AttributeError(f"module 'sojourn' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"sojourn.sdk.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
