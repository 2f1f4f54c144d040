"""Runs as the API shows them: in a list, by themselves, as relatives of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sojourn.control_plane.api.encoding import RawJson, given, timestamp
from sojourn.control_plane.api.present.results import flat_error
from sojourn.control_plane.api.present.schedules import schedule_in_run
from sojourn.control_plane.api.present.statuses import status_word
from sojourn.control_plane.api.present.waits import wait_item
from sojourn.control_plane.domain import duration
from sojourn.control_plane.domain.lifecycle import BLOCKED, STANDING, is_final
from sojourn.control_plane.store.packets import STORED
from sojourn.control_plane.store.records import Environment, Executor, Run, Schedule, Wait
from sojourn.sdk.protocol import RunStatus

_QUEUED = frozenset({RunStatus.QUEUED, RunStatus.DELAYED, RunStatus.PENDING_VERSION})
_EXECUTING = frozenset({RunStatus.EXECUTING, RunStatus.DEQUEUED})


def common(run: Run, version: str | None, current: bool) -> dict[str, Any]:
    """The fields that every view of a run has. A run that expired or timed out counts as completed and failed."""
    over = is_final(run.status)
    options = run.idempotency_options or {}
    return given(
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
        wire["waitingFor"] = {"need": run.wait_need, "waits": [wait_item(wait) for wait in waits]}
    if run.frozen_ms:
        wire["frozenMs"] = run.frozen_ms
    if run.executor_id is not None:
        wire["executor"] = _placed(run.executor_id, executor)
    if schedule is not None:
        wire["schedule"] = schedule_in_run(schedule)
    wire |= _packet("payload", run.payload, run.payload_type, address)
    if run.status == RunStatus.COMPLETED:
        wire |= _packet("output", run.output, run.output_type, address)
    if run.error and is_final(run.status):
        wire["error"] = flat_error(run.error)
    return wire


def _placed(executor_id: str, executor: Executor | None) -> dict[str, Any]:
    """An executor, with its names in the cluster where it is on one."""
    if executor is None:
        return {"id": executor_id}
    return given(
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
    return {name: _value(text, media_type or "application/json")}


def _value(text: str, media_type: str) -> Any:
    """A stored payload or output as the JSON value it stands for."""
    return RawJson(text) if "json" in media_type else text


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
