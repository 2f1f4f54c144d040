"""Runs of a test as the API shows them, and as their own context has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sojourn.sdk.protocol import ErrorCode, RunStatus
from sojourn.sdk.testing import Ended, now_text


def fields(run_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's options say of it, as its context has it."""
    found: dict[str, Any] = {
        "id": run_id,
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


def ended(run: Ended, options: Mapping[str, Any], at: str) -> dict[str, Any]:
    """A run that is over. `at`: when it was triggered."""
    cancelled = (run.error or {}).get("code") == ErrorCode.TASK_RUN_CANCELLED
    status = RunStatus.COMPLETED if run.ok else RunStatus.CANCELED if cancelled else RunStatus.FAILED
    shown = _shown(run.id, run.task, status, options, at) | {
        "isCompleted": True,
        "isSuccess": run.ok,
        "isFailed": not run.ok,
        "isCancelled": cancelled,
        "startedAt": at,
        "finishedAt": now_text(),
        "attemptCount": run.attempts,
        "metadata": run.metadata or None,
    }
    return {**shown, "output": run.output} if run.ok else {**shown, "error": _flat(run.error or {})}


def held(run_id: str, task: str, options: Mapping[str, Any], at: str, due: datetime | None) -> dict[str, Any]:
    """A run that has not begun. `due`: its date, if that is ahead."""
    shown = _shown(run_id, task, RunStatus.QUEUED if due is None else RunStatus.DELAYED, options, at)
    shown["isQueued"] = due is None
    return shown if due is None else shown | {"delayedUntil": due.isoformat()}


def tags(options: Mapping[str, Any]) -> list[str]:
    """The tags that a run was triggered with."""
    given = options.get("tags") or []
    return [given] if isinstance(given, str) else list(given)


def _shown(run_id: str, task: str, status: str, options: Mapping[str, Any], at: str) -> dict[str, Any]:
    return {
        "id": run_id,
        "status": status,
        "taskIdentifier": task,
        "isCompleted": False,
        "isSuccess": False,
        "isFailed": False,
        "isCancelled": False,
        "createdAt": at,
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
