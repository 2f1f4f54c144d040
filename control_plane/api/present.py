"""Runs as the wire has them. Absent optionals are left out, never null: clients take null for a value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sojourn.control_plane.store.records import Attempt, Environment, Run, Snapshot
from sojourn.control_plane.telemetry.logs import Line
from sojourn.sdk.protocol import ErrorCode, ErrorKind, RunStatus

_QUEUED = {RunStatus.QUEUED, RunStatus.DELAYED, RunStatus.PENDING_VERSION}
_EXECUTING = {RunStatus.EXECUTING, RunStatus.DEQUEUED}
_COMPLETED = {
    RunStatus.COMPLETED,
    RunStatus.CANCELED,
    RunStatus.FAILED,
    RunStatus.CRASHED,
    RunStatus.SYSTEM_FAILURE,
}
#: The vocabulary of clients that do not say which API version they speak.
_OLDER = {
    RunStatus.DEQUEUED: "EXECUTING",
    RunStatus.WAITING: "FROZEN",
    RunStatus.PENDING_VERSION: "WAITING_FOR_DEPLOY",
}


def status_word(status: str, current: bool) -> str:
    """A run's status in the caller's vocabulary."""
    return status if current else _OLDER.get(RunStatus(status), status)


def common(run: Run, version: str | None, *, current: bool = True) -> dict[str, Any]:
    """What lists and single runs share."""
    completed = run.status in _COMPLETED
    wire = {
        "id": run.id,
        "status": status_word(run.status, current),
        "taskIdentifier": run.task,
        "isQueued": run.status in _QUEUED,
        "isExecuting": run.status in _EXECUTING,
        "isWaiting": run.status == RunStatus.WAITING,
        "isCompleted": completed,
        "isSuccess": run.status == RunStatus.COMPLETED,
        "isFailed": completed and run.status != RunStatus.COMPLETED,
        "isCancelled": run.status == RunStatus.CANCELED,
        "isTest": run.is_test,
        "createdAt": iso(run.created_at),
        "updatedAt": iso(run.updated_at),
        "tags": sorted(run.tags),
        "costInCents": 0,
        "baseCostInCents": 0,
        "durationMs": run.usage_ms,
        "depth": run.depth,
    }
    optional = {
        "idempotencyKey": (run.idempotency_options or {}).get("key") or run.idempotency_key,
        "version": version,
        "ttl": f"{run.ttl_seconds}s" if run.ttl_seconds else None,
        "startedAt": _iso(run.started_at),
        "finishedAt": _iso(run.finished_at),
        "delayedUntil": _iso(run.delayed_until),
        "expiredAt": _iso(run.finished_at) if run.status == RunStatus.EXPIRED else None,
        "metadata": _parsed(run.metadata) if run.metadata else None,
    }
    return wire | _present(optional)


def listed(run: Run, version: str | None, environment: Environment, *, current: bool) -> dict[str, Any]:
    """A run in a list."""
    return common(run, version, current=current) | {"env": {"id": environment.id, "name": environment.slug}}


def whole(run: Run, version: str | None, related: Iterable[Run], *, current: bool) -> dict[str, Any]:
    """A run by itself, with payload, output, error and relatives."""
    related = list(related)
    by_id = {other.id: other for other in related}
    relatives: dict[str, Any] = {
        "children": [_relative(other, current) for other in related if other.parent_run_id == run.id]
    }
    for name, other_id in (("root", run.root_run_id), ("parent", run.parent_run_id)):
        if other_id in by_id:
            relatives[name] = _relative(by_id[other_id], current)
    wire = common(run, version, current=current) | {
        "triggerFunction": "trigger",
        "relatedRuns": relatives,
        "attemptCount": run.attempt,
        "attempts": [],
        "queue": run.queue,
        "machine": run.machine,
    }
    optional: dict[str, Any] = {}
    if run.payload is not None:
        optional["payload"] = run.payload if run.payload_type == "text/plain" else _parsed(run.payload)
    if run.status == RunStatus.COMPLETED and run.output is not None:
        optional["output"] = _parsed(run.output)
    if run.error:
        optional["error"] = flat_error(run.error)
    if run.concurrency_key:
        optional["concurrencyKey"] = run.concurrency_key
    return wire | optional


def result(run: Run) -> dict[str, Any]:
    """How a run that is over ended."""
    wire: dict[str, Any] = {"id": run.id, "taskIdentifier": run.task, "usage": {"durationMs": run.usage_ms}}
    if run.status == RunStatus.COMPLETED:
        wire |= {"ok": True, "outputType": run.output_type or "application/json"}
        return wire | ({} if run.output is None else {"output": run.output})
    return wire | {"ok": False, "error": _error_of(run), "status": run.status}


def timeline(run: Run, history: Iterable[Snapshot], attempts: Iterable[Attempt]) -> dict[str, Any]:
    """A run's history and attempts."""
    return {
        "id": run.id,
        "status": run.status,
        "snapshots": [
            _present(
                {
                    "seq": row.seq,
                    "event": row.event,
                    "status": row.status,
                    "runStatus": row.run_status,
                    "attempt": row.attempt,
                    "executor": row.executor_id,
                    "description": row.description,
                    "error": flat_error(row.error) if row.error else None,
                    "at": iso(row.created_at),
                }
            )
            for row in history
        ],
        "attempts": [
            _present(
                {
                    "number": attempt.number,
                    "startedAt": iso(attempt.started_at),
                    "endedAt": _iso(attempt.ended_at),
                    "outcome": attempt.outcome,
                    "warm": attempt.warm,
                    "executor": attempt.executor_id,
                    "error": flat_error(attempt.error) if attempt.error else None,
                }
            )
            for attempt in attempts
        ],
    }


def line(given: Line) -> dict[str, Any]:
    """A log line."""
    wire = {
        "attempt": given.attempt,
        "n": given.n,
        "at": iso(given.at),
        "stream": given.stream,
        "level": given.level,
        "message": given.message,
    }
    return wire | ({"properties": given.properties} if given.properties else {})


def flat_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """An error as people read it."""
    kind = error.get("type")
    if kind == ErrorKind.INTERNAL_ERROR:
        code = str(error.get("code"))
        told = {"message": f"{code}: {error['message']}" if error.get("message") else code, "name": code}
        return told | ({"stackTrace": error["stackTrace"]} if error.get("stackTrace") else {})
    if kind == ErrorKind.BUILT_IN_ERROR:
        return {name: str(error[name]) for name in ("message", "name", "stackTrace") if name in error}
    return {"message": str(error.get("raw", ""))}


def iso(moment: datetime) -> str:
    """A date of the wire, in ms."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)


def _error_of(run: Run) -> Mapping[str, Any]:
    if run.error:
        return run.error
    code = ErrorCode.TASK_RUN_CANCELLED if run.status == RunStatus.CANCELED else ErrorCode.UNSPECIFIED_ERROR
    return {"type": ErrorKind.INTERNAL_ERROR, "code": code, "message": f"the run ended as {run.status}"}


def _relative(run: Run, current: bool) -> dict[str, Any]:
    return common(run, None, current=current) | {"triggerFunction": "trigger"}


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
