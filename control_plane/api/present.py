"""Runs as the API shows them, in both status vocabularies. Absent values are left out, never null."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sojourn.control_plane.api.encoding import RawJson, timestamp
from sojourn.control_plane.domain import cron, cron_words, duration
from sojourn.control_plane.domain.explaining import Cause, Reason
from sojourn.control_plane.domain.failure import internal_error
from sojourn.control_plane.domain.lifecycle import BLOCKED, is_final
from sojourn.control_plane.engine.batches import Standing
from sojourn.control_plane.engine.explaining import Explained
from sojourn.control_plane.engine.queues import QueueState
from sojourn.control_plane.engine.waiting import Done
from sojourn.control_plane.store.batches import Flawed, NamedItem
from sojourn.control_plane.store.packets import STORED
from sojourn.control_plane.store.records import (
    Attempt,
    Batch,
    Checkpoint,
    Environment,
    Executor,
    QueueKey,
    Run,
    Schedule,
    Snapshot,
    Wait,
    Waitpoint,
)
from sojourn.control_plane.telemetry.logs import Line
from sojourn.sdk.protocol import ErrorCode, ErrorKind, RunStatus, SnapshotStatus

#: Clients that do not name this release's API version get the words of the version before.
_OLDER = {RunStatus.DEQUEUED: "EXECUTING", RunStatus.WAITING: "FROZEN"}
_FROM_OLDER = {
    "FROZEN": RunStatus.WAITING,
    "REATTEMPTING": RunStatus.EXECUTING,
    "WAITING_FOR_DEPLOY": RunStatus.PENDING_VERSION,
}
#: Every word for a status. No run is ever interrupted here, so that the older vocabulary's word finds nothing.
STATUS_WORDS = (*RunStatus.__members__, *_FROM_OLDER, "INTERRUPTED")
#: What the name of a task's own queue begins with.
_OF_TASK = "task/"
_QUEUED = frozenset({RunStatus.QUEUED, RunStatus.DELAYED, RunStatus.PENDING_VERSION})
#: A run in one of these needs what it waits for.
STANDING = frozenset({SnapshotStatus.EXECUTING_WITH_WAITPOINTS, SnapshotStatus.SUSPENDED})
_EXECUTING = frozenset({RunStatus.EXECUTING, RunStatus.DEQUEUED})


def status_word(status: str, current: bool) -> str:
    """A status in the current vocabulary or the older one."""
    return status if current else _OLDER.get(RunStatus(status), status)


def status_of(word: str) -> str | None:
    """The status that a word of either vocabulary means; None for a word of neither."""
    found: str | None = _FROM_OLDER.get(word)
    return found or (word if word in STATUS_WORDS else None)


def common(run: Run, version: str | None, current: bool) -> dict[str, Any]:
    """The fields that every view of a run has. A run that expired or timed out counts as completed and failed."""
    over = is_final(run.status)
    options = run.idempotency_options or {}
    return _present(
        {
            "id": run.id,
            "status": status_word(run.status, current),
            "taskIdentifier": run.task,
            "idempotencyKey": options.get("key") or run.idempotency_key,
            "version": version,
            "ttl": duration.written(run.ttl_seconds) if run.ttl_seconds else None,
            "isQueued": run.status in _QUEUED,
            "isExecuting": run.status in _EXECUTING,
            "isWaiting": run.status == RunStatus.WAITING,
            "isCompleted": over,
            "isSuccess": run.status == RunStatus.COMPLETED,
            "isFailed": over and run.status != RunStatus.COMPLETED,
            "isCancelled": run.status == RunStatus.CANCELED,
            "isTest": run.is_test,
            "createdAt": timestamp(run.created_at),
            "updatedAt": timestamp(run.updated_at),
            "startedAt": run.started_at and timestamp(run.started_at),
            "finishedAt": run.finished_at and timestamp(run.finished_at),
            "delayedUntil": run.delayed_until and timestamp(run.delayed_until),
            "expiredAt": timestamp(run.updated_at) if run.status == RunStatus.EXPIRED else None,
            "tags": sorted(run.tags),
            "costInCents": 0,
            "baseCostInCents": 0,
            "durationMs": run.usage_ms,
            "metadata": None if run.metadata is None else RawJson(run.metadata),
            "depth": run.depth,
        }
    )


def list_item(run: Run, environment: Environment, version: str | None, current: bool) -> dict[str, Any]:
    """A run in a list."""
    return {
        **common(run, version, current),
        "taskKind": "STANDARD" if run.schedule_id is None else "SCHEDULED",
        "queue": {"name": run.queue},
        "machine": run.machine,
        "region": run.region,
        "env": {"id": environment.id, "name": environment.slug},
    }


def retrieved(
    run: Run,
    version: str | None,
    related: Sequence[Run],
    versions: Mapping[str, str],
    executor: Executor | None,
    waits: Sequence[Wait],
    current: bool,
    schedule: Schedule | None = None,
    address: Callable[[str], str | None] = str,
) -> dict[str, Any]:
    """A run by itself, with payload, output, error and its relatives. `versions`: numbers by version id.

    `executor`: where a cluster has the executor that the run was last given to. `waits`: what it needs to go on.
    `address`: where an object of that name can be read.
    """
    wire = {
        **common(run, version, current),
        **_origin(run),
        "queue": {"name": run.queue},
        "machine": run.machine,
        "region": run.region,
        "relatedRuns": _relatives(run, related, versions, current),
        "attemptCount": run.attempt,
    }
    if run.alive_reason and run.snapshot_status in BLOCKED:
        wire["aliveReason"] = run.alive_reason
    if run.wait_need and run.snapshot_status in STANDING:
        wire["waitingFor"] = {"need": run.wait_need, "waits": [_wait(wait) for wait in waits]}
    if run.frozen_ms:
        wire["frozenMs"] = run.frozen_ms
    if run.executor_id is not None:
        wire["executor"] = placed(run.executor_id, executor)
    if schedule is not None:
        wire["schedule"] = _of_schedule(schedule)
    wire |= _packet("payload", run.payload, run.payload_type, address)
    if run.status == RunStatus.COMPLETED:
        wire |= _packet("output", run.output, run.output_type, address)
    if run.error and is_final(run.status):
        wire["error"] = flat_error(run.error)
    return wire


def numbers(page: int, size: int, count: int) -> dict[str, int]:
    """Where a page is among others."""
    return {"currentPage": page, "totalPages": -(-count // size), "count": count}


def placed(executor_id: str, executor: Executor | None) -> dict[str, Any]:
    """An executor, with its names in the cluster where it is on one."""
    if executor is None:
        return {"id": executor_id}
    return _present(
        {
            "id": executor_id,
            "cluster": executor.cluster,
            "namespace": executor.namespace,
            "jobId": executor.child_job_id,
            "allocationId": executor.allocation_id,
            "nodeId": executor.node_id,
            "nodeName": executor.node_name,
            "isolation": executor.isolation,
        }
    )


def _packet(name: str, text: str | None, media_type: str | None, address: Callable[[str], str | None]) -> dict[str, Any]:
    """A payload or an output in a run, or where it can be read."""
    if text is None:
        return {}
    if media_type == STORED:
        url = address(text)
        return {f"{name}PresignedUrl": url} if url else {}
    return {name: packet(text, media_type or "application/json")}


def packet(text: str, media_type: str) -> Any:
    """A stored payload or output as the JSON value it stands for."""
    return RawJson(text) if "json" in media_type else text


def result(run: Run) -> dict[str, Any]:
    """How a run that is over ended; `error` as its executor gave it."""
    wire: dict[str, Any] = {"ok": run.status == RunStatus.COMPLETED, "id": run.id, "taskIdentifier": run.task}
    if wire["ok"]:
        if run.output is not None:
            wire["output"] = run.output
        wire["outputType"] = run.output_type or "application/json"
    else:
        wire["error"] = run.error or _error_of_status(run)
    wire["usage"] = {"durationMs": run.usage_ms}
    return wire


def batch_key(batch: Batch) -> str | None:
    """A batch's idempotency key as its user wrote it."""
    return (batch.idempotency_options or {}).get("key") or batch.idempotency_key


def batch(standing: Standing) -> dict[str, Any]:
    """A batch with the runs of its items, in their order, and why some could not be triggered."""
    processed = standing.batch.sealed_at or standing.batch.completed_at
    processing: dict[str, Any] = {"errors": _flaws(standing.flawed)}
    if processed is not None:
        processing = {"completedAt": timestamp(processed)} | processing
    return _batch(standing) | {"processing": processing}


def batch_counted(standing: Standing) -> dict[str, Any]:
    """The same in the words of the version before: how many of its items could be triggered."""
    batch, flawed = standing.batch, standing.flawed
    counts = {"successfulRunCount": batch.items - batch.failed, "failedRunCount": batch.failed}
    return _batch(standing) | counts | ({"errors": _flaws(flawed)} if flawed else {})


def batch_of_runs(batch: Batch, cached: bool, items: Sequence[NamedItem]) -> dict[str, Any]:
    """A batch as an older version tells of it when it was triggered: each run with its task and its key."""
    runs = [
        _present(
            {
                "id": item.run_id,
                "taskIdentifier": item.task,
                "isCached": item.cached or cached,
                "idempotencyKey": item.idempotency_key,
            }
        )
        for item in items
    ]
    return _present({"id": batch.id, "isCached": cached, "idempotencyKey": batch_key(batch), "runs": runs})


def _batch(standing: Standing) -> dict[str, Any]:
    batch = standing.batch
    return _present(
        {
            "id": batch.id,
            "status": batch.status,
            "idempotencyKey": batch_key(batch),
            "createdAt": timestamp(batch.created_at),
            "updatedAt": timestamp(batch.updated_at),
            "completedAt": batch.completed_at and timestamp(batch.completed_at),
            "runCount": batch.run_count,
            "finishedRunCount": standing.finished,
            "runs": [item.run_id for item in standing.items],
            "next": standing.after,
        }
    )


def _flaws(flawed: Sequence[Flawed]) -> list[dict[str, Any]]:
    return [
        {
            "index": each.position,
            "taskIdentifier": each.task,
            "error": each.error.get("message", ""),
            "errorCode": each.error.get("code", ErrorCode.UNSPECIFIED_ERROR),
        }
        for each in flawed
    ]


def token_item(token: Waitpoint, url: str) -> dict[str, Any]:
    """A token in a list."""
    timeout = token.due_at and timestamp(token.due_at)
    return _present(
        {
            "id": token.id,
            "url": url,
            "status": _status_of_waitpoint(token),
            "completedAt": token.completed_at and timestamp(token.completed_at),
            "completedAfter": timeout,
            "timeoutAt": timeout,
            "idempotencyKey": token.idempotency_key,
            "idempotencyKeyExpiresAt": token.idempotency_expires_at and timestamp(token.idempotency_expires_at),
            "tags": token.tags,
            "createdAt": timestamp(token.created_at),
        }
    )


def token(token: Waitpoint, url: str) -> dict[str, Any]:
    """A token by itself, with what it was completed with."""
    output = {"output": token.output, "outputType": token.output_type, "outputIsError": token.is_error or None}
    return token_item(token, url) | _present(output)


def schedule(schedule: Schedule, environment: Environment) -> dict[str, Any]:
    """A schedule."""
    tick, last = schedule.next_tick, schedule.last_tick
    due = None if schedule.held else schedule.due_at
    return _present(
        {
            "id": schedule.id,
            "type": schedule.type,
            "task": schedule.task,
            "active": schedule.active,
            "deduplicationKey": schedule.deduplication_key,
            "externalId": schedule.external_id,
            "generator": _generator(schedule.cron),
            "timezone": schedule.timezone,
            "window": schedule.time_window,
            "overlap": schedule.overlap,
            "catchUp": schedule.catch_up,
            "nextRun": tick and timestamp(tick),
            "nextRunEffectiveAt": due and timestamp(due),
            "lastRun": last and timestamp(last),
            "environments": [{"id": environment.id, "type": environment.type}],
        }
    )


def _of_schedule(schedule: Schedule) -> dict[str, Any]:
    return _present(
        {
            "id": schedule.id,
            "externalId": schedule.external_id,
            "deduplicationKey": schedule.deduplication_key,
            "generator": _generator(schedule.cron),
        }
    )


def _generator(expression: str) -> dict[str, Any]:
    return {"type": "CRON", "expression": expression, "description": cron_words.describe(cron.parse(expression))}


def queue(state: QueueState) -> dict[str, Any]:
    """A queue. Here null stands for no limit, as clients expect it."""
    queue, load = state.queue, state.load
    is_task = queue.name.startswith(_OF_TASK)
    wire: dict[str, Any] = {
        "id": queue.id,
        "name": queue.name.removeprefix(_OF_TASK),
        "type": "task" if is_task else "custom",
        "running": load.running,
        "queued": load.waiting,
        "paused": queue.paused,
        "concurrencyLimit": queue.limit,
        "concurrency": {
            "current": queue.limit,
            "base": queue.base_limit,
            "override": queue.limit if queue.is_overridden else None,
            "overriddenAt": queue.overridden_at and timestamp(queue.overridden_at),
            "overriddenBy": None,
        },
        "releaseConcurrencyOnWaitpoint": True,
    }
    if queue.override_percent is not None:
        wire["concurrencyLimitOverridePercent"] = queue.override_percent
    keys = [_queue_key(key) for key in state.keys] or None
    return wire | _present({"rate": _rate(queue.rate), "keyRate": _rate(queue.key_rate), "keys": keys})


def _queue_key(key: QueueKey) -> dict[str, Any]:
    more = {
        "concurrencyLimitOverridePercent": key.override_percent,
        "overriddenAt": key.overridden_at and timestamp(key.overridden_at),
        "rate": _rate(key.rate),
    }
    return {"concurrencyKey": key.key, "concurrencyLimit": key.limit} | _present(more)


def _rate(rate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {"limit": rate["limit"], "period": duration.written(rate["seconds"]), "burst": rate["burst"]}


def why(explained: Explained, current: bool) -> dict[str, Any]:
    """What keeps a run."""
    run = explained.run
    return {
        "id": run.id,
        "status": status_word(run.status, current),
        "isWaiting": bool(explained.causes),
        "reasons": [_cause(cause, explained) for cause in explained.causes],
    }


def _cause(cause: Cause, explained: Explained) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "reason": cause.reason,
        "message": cause.message,
        "nextStep": cause.todo,
        "scope": cause.scope,
        "limit": cause.limit,
        "held": cause.held,
        "heldBy": list(cause.holders) if cause.held is not None else None,
        "until": cause.until and timestamp(cause.until),
        "ahead": cause.ahead,
    }
    if cause.reason is Reason.WAITPOINTS:
        wire |= {"need": explained.run.wait_need, "waits": [_wait(wait) for wait in explained.waits]}
    return _present(wire)


def waits_done(done: Sequence[Done]) -> dict[str, Any]:
    """Waits that are over, by their keys, as the process that waits is given them."""
    return {each.key: _wait_done(each) for each in done}


def _wait_done(done: Done) -> dict[str, Any]:
    wait = done.wait
    if wait is None:
        error = {"code": "WAITPOINT_NOT_FOUND", "message": "there is nothing like it to wait for in this environment"}
        return {"ok": False, "error": error}
    common = {"kind": wait.kind, "waitpoint": wait.id}
    if wait.kind == "run":
        return common | (result(done.run) if done.run else {"ok": False, "error": _GONE})
    if wait.is_error:
        return common | {"ok": False, "error": json.loads(wait.output or "{}")}
    told = {"output": wait.output, "outputType": wait.output_type} if wait.output is not None else {}
    return common | {"ok": True, **told}


_GONE = {"code": "RUN_NOT_FOUND", "message": "the run was deleted"}


def flat_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """A run's error as `{message, name?, stackTrace?}`."""
    kind = error.get("type")
    if kind == ErrorKind.BUILT_IN_ERROR:
        flat = {"message": error.get("message") or "", "name": error.get("name"), "stackTrace": error.get("stackTrace")}
    elif kind == ErrorKind.INTERNAL_ERROR:
        code = error.get("code") or ErrorCode.UNSPECIFIED_ERROR
        message = error.get("message")
        flat = {
            "message": f"{code}: {message}" if message else str(code),
            "name": code,
            "stackTrace": error.get("stackTrace"),
        }
    else:
        flat = {"message": str(error.get("raw") or "")}
    return _present(flat)


def timeline(
    run: Run,
    history: Sequence[Snapshot],
    attempts: Sequence[Attempt],
    checkpoints: Sequence[Checkpoint],
    waits: Sequence[Wait],
    hook: Run | None = None,
) -> dict[str, Any]:
    """A run's history, row by row, its attempts, its waits, when it was frozen, and how its hooks fared."""
    wire = {} if hook is None else {"hook": _hook(hook)}
    return wire | {
        "id": run.id,
        "snapshots": [_snapshot(row) for row in history],
        "attempts": [_attempt(attempt) for attempt in attempts],
        "checkpoints": [_checkpoint(each) for each in checkpoints],
        "waits": [_wait(each) for each in waits],
    }


def _hook(run: Run) -> dict[str, Any]:
    return _present(
        {
            "id": run.id,
            "status": run.status,
            "attempts": run.attempt,
            "error": (run.error and is_final(run.status) and flat_error(run.error)) or None,
            "createdAt": timestamp(run.created_at),
            "finishedAt": run.finished_at and timestamp(run.finished_at),
        }
    )


def log_line(line: Line) -> dict[str, Any]:
    """A log line."""
    return _present(
        {
            "attempt": line.attempt,
            "n": line.n,
            "at": timestamp(line.at),
            "stream": line.stream,
            "level": line.level,
            "message": line.message,
            "properties": line.properties,
        }
    )


def _relatives(run: Run, related: Sequence[Run], versions: Mapping[str, str], current: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for other in related:
        wire = common(other, versions.get(other.version_id or ""), current) | _origin(other)
        if other.id == run.root_run_id:
            found["root"] = wire
        if other.id == run.parent_run_id:
            found["parent"] = wire
        if other.parent_run_id == run.id:
            found.setdefault("children", []).append(wire)
        if other.hook_of == run.id:
            found["hook"] = wire
        if other.id == run.hook_of:
            found["hookOf"] = wire
    return found


def _origin(run: Run) -> dict[str, Any]:
    if run.batch_id is None:
        return {"triggerFunction": "trigger"}
    return {"triggerFunction": "batchTrigger", "batchId": run.batch_id}


def _error_of_status(run: Run) -> dict[str, Any]:
    if run.status == RunStatus.CANCELED:
        return dict(internal_error(ErrorCode.TASK_RUN_CANCELLED, "the run was cancelled"))
    if run.status == RunStatus.EXPIRED:
        waited = f" within {duration.written(run.ttl_seconds)}" if run.ttl_seconds else ""
        return {"type": ErrorKind.STRING_ERROR, "raw": f"the run expired: it was not started{waited}"}
    return dict(internal_error(ErrorCode.CONFIGURED_INCORRECTLY, "the run has no readable error"))


def _snapshot(row: Snapshot) -> dict[str, Any]:
    return _present(
        {
            "seq": row.seq,
            "event": row.event,
            "status": row.status,
            "runStatus": row.run_status,
            "attempt": row.attempt,
            "executor": row.executor_id,
            "warmStart": row.warm,
            "error": row.error and flat_error(row.error),
            "description": row.description,
            "createdAt": timestamp(row.created_at),
        }
    )


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return _present(
        {
            "number": attempt.number,
            "startedAt": timestamp(attempt.started_at),
            "endedAt": attempt.ended_at and timestamp(attempt.ended_at),
            "outcome": attempt.outcome,
            "error": attempt.error and flat_error(attempt.error),
            "executor": attempt.executor_id,
            "warmStart": attempt.warm,
        }
    )


def _checkpoint(row: Checkpoint) -> dict[str, Any]:
    return _present(
        {
            "id": row.id,
            "attempt": row.attempt,
            "snapshot": row.snapshot,
            "nodeType": row.node_type,
            "imageBytes": row.image_bytes,
            "storedBytes": row.stored_bytes,
            "freezeMs": row.freeze_ms,
            "storeMs": row.store_ms,
            "thawMs": row.thaw_ms,
            "frozenAt": row.recorded_at and timestamp(row.recorded_at),
            "thawedAt": row.thawed_at and timestamp(row.thawed_at),
        }
    )


def _wait(wait: Wait) -> dict[str, Any]:
    return _present(
        {
            "key": wait.key,
            "attempt": wait.attempt,
            "kind": wait.kind,
            "waitpoint": wait.id,
            "run": wait.run_id,
            "status": _status_of_waitpoint(wait),
            "since": timestamp(wait.created_at),
            "until": wait.due_at and timestamp(wait.due_at),
            "doneAt": wait.completed_at and timestamp(wait.completed_at),
        }
    )


def _status_of_waitpoint(waitpoint: Waitpoint) -> str:
    if not waitpoint.is_done:
        return "WAITING"
    return "TIMED_OUT" if waitpoint.is_error else "COMPLETED"


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
