"""Runs of a test as the API shows them, and as their own context has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sojourn.sdk.protocol import ErrorCode, RunStatus
from sojourn.sdk.task import Task
from sojourn.sdk.testing import Ended


@dataclass(slots=True)
class Dates:
    """When a run was triggered, began and ended."""

    created: datetime
    started: datetime | None = None
    finished: datetime | None = None

    def shown(self) -> dict[str, str]:
        """As the API shows them."""
        dates = {"createdAt": self.created, "startedAt": self.started, "finishedAt": self.finished}
        return {name: date.isoformat() for name, date in dates.items() if date is not None}


@dataclass(slots=True)
class Held:
    """A run that has not begun. `due`: its date, if it has one; `first`: when its debounce key's first trigger came."""

    run: str
    task: Task
    queue: str
    key: str
    fields: dict[str, Any]
    due: datetime | None = None
    first: datetime | None = None


def fields(run_id: str, options: Mapping[str, Any], dates: Dates) -> dict[str, Any]:
    """What a run's options say of it, as its context has it."""
    found: dict[str, Any] = {
        "id": run_id,
        "createdAt": dates.created.isoformat(),
        "tags": tags(options),
        "parentTaskRunId": options.get("parentRunId"),
        "idempotencyKey": options.get("idempotencyKey"),
        "metadata": options.get("metadata"),
        "region": options.get("region") or "default",
        "priority": options.get("priority"),
    }
    found |= {name: options[name] for name in ("maxAttempts", "maxDuration", "machine") if options.get(name)}
    if options.get("queue"):
        found["queue"] = options["queue"]["name"]
    return found


def is_cancelled(run: Ended) -> bool:
    """Whether somebody cancelled it."""
    return (run.error or {}).get("code") == ErrorCode.TASK_RUN_CANCELLED


def ended(run: Ended, options: Mapping[str, Any], dates: Dates) -> dict[str, Any]:
    """A run that is over."""
    cancelled = is_cancelled(run)
    status = RunStatus.COMPLETED if run.ok else RunStatus.CANCELED if cancelled else RunStatus.FAILED
    shown = _shown(run.id, run.task, status, options, dates) | {
        "isCompleted": True,
        "isSuccess": run.ok,
        "isFailed": not run.ok,
        "isCancelled": cancelled,
        "attemptCount": run.attempts,
        "metadata": run.metadata or None,
    }
    return {**shown, "output": run.output} if run.ok else {**shown, "error": _flat(run.error or {})}


def held(run_id: str, task: str, options: Mapping[str, Any], dates: Dates, due: datetime | None) -> dict[str, Any]:
    """A run that has not begun. `due`: its date, if that is ahead."""
    shown = _shown(run_id, task, RunStatus.QUEUED if due is None else RunStatus.DELAYED, options, dates)
    shown["isQueued"] = due is None
    return shown if due is None else shown | {"delayedUntil": due.isoformat()}


def result(run: Ended) -> dict[str, Any]:
    """How a run ended."""
    common = {"ok": run.ok, "id": run.id, "taskIdentifier": run.task}
    if not run.ok:
        return {**common, "error": run.error}
    return {**common, "output": json.dumps(run.output), "outputType": "application/json"}


def lines(run: Ended, dates: Dates) -> list[dict[str, Any]]:
    """What a run logged."""
    at = (dates.started or dates.created).isoformat()
    return [
        {"attempt": 1, "n": n, "at": at, "stream": "log", "level": level, "message": text, "properties": more}
        for n, (level, text, more) in enumerate(run.logs)
    ]


def tags(options: Mapping[str, Any]) -> list[str]:
    """The tags that a run was triggered with."""
    given = options.get("tags") or []
    return [given] if isinstance(given, str) else list(given)


def _shown(run_id: str, task: str, status: str, options: Mapping[str, Any], dates: Dates) -> dict[str, Any]:
    return {
        "id": run_id,
        "status": status,
        "taskIdentifier": task,
        "isCompleted": False,
        "isSuccess": False,
        "isFailed": False,
        "isCancelled": False,
        **dates.shown(),
        "attemptCount": 0,
        "tags": sorted(tags(options)),
        "metadata": options.get("metadata"),
        "idempotencyKey": options.get("idempotencyKey"),
        "version": "test",
        "region": options.get("region") or "default",
    }


def _flat(error: Mapping[str, Any]) -> dict[str, Any]:
    """A run's error as a run shows it."""
    if "code" in error:
        return {"name": error["code"], "message": f"{error['code']}: {error.get('message', '')}"}
    return {name: error[name] for name in ("name", "message", "stackTrace") if name in error}
