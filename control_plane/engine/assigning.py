"""What an executor is told of the run it is given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sojourn.control_plane.domain.waiting_terms import WaitingTerms
from sojourn.control_plane.engine.credentials import Credentials
from sojourn.control_plane.engine.packets import Packets
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.records import Environment, Run, Version
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.variables import Variables
from sojourn.control_plane.store.versions import Versions
from sojourn.sdk.protocol import DEFAULT_MACHINE, MACHINES, RunStatus


@dataclass(frozen=True, slots=True)
class Terms:
    """What every executor is held to: seconds between heartbeats, of its lease; where it finds the API; how runs wait."""

    heartbeat: float
    lease: float
    api_url: str
    waiting: WaitingTerms


class Assigning:
    """Builds assignments (JSON, camelCase) out of a run and what it is pinned to."""

    def __init__(
        self,
        runs: Runs,
        access: Access,
        versions: Versions,
        credentials: Credentials,
        packets: Packets,
        terms: Terms,
        variables: Variables,
    ):
        self._runs = runs
        self._access = access
        self._versions = versions
        self._credentials = credentials
        self._packets = packets
        self._terms = terms
        self._variables = variables

    def assignment(self, run: Run, now: datetime, *, goes_on: bool = False) -> dict[str, Any]:
        """Everything that an executor and the user's code need for one attempt.

        `goes_on`: its process is there, and has read its payload, as a frozen one has.
        `PacketsUnavailable`, `PacketMissing`: its payload cannot be read, now or for good.
        """
        if run.checkpoint_id is None and not goes_on:
            run = self._packets.with_payload(run)
        assert run.version_id and run.executor_id
        environment = self._access.environment(run.environment_id, now)
        version = self._versions.find(run.version_id)
        task = self._versions.task(run.version_id, run.task)
        assert environment and version and task
        machine = MACHINES.get(run.machine, MACHINES[DEFAULT_MACHINE])
        return {
            "run": _run(run, version),
            "attempt": {"number": run.attempt, "startedAt": _iso(now)},
            "task": {"id": task.slug, "filePath": task.file_path, "exportName": task.export_name},
            "retry": task.retry if run.hook_of is None else {},
            "queue": {"id": run.queue, "name": run.queue.removeprefix("task/")},
            **_surroundings(environment, version),
            **({} if run.hook_of is None else self._end(run.hook_of)),
            **({"batch": {"id": run.batch_id}} if run.batch_id else {}),
            "machine": {"name": machine.name, "cpu": machine.cpu, "memory": machine.memory, "centsPerMs": 0},
            "snapshot": run.snapshot,
            "token": self._credentials.for_run(run.id, run.executor_id),
            "memoryBytes": machine.memory_bytes,
            "maxDuration": run.max_duration,
            "variables": {each.name: each.value for each in self._variables.all(environment.id)},
            "apiUrl": self._terms.api_url,
            "secretKey": self._access.keys.root(environment.id, now),
            "lease": self._terms.lease,
            "heartbeat": self._terms.heartbeat,
            "waiting": self._terms.waiting.within(environment.id, environment.slug).for_task(task.may_freeze),
        }

    def _end(self, run_id: str) -> dict[str, Any]:
        """What the hooks of another run's end are told."""
        ended = self._runs.any(run_id)
        assert ended is not None  # it is kept until its hooks are told
        return {"end": _end(self._packets.with_output(self._packets.with_payload(ended)))}


def _run(run: Run, version: Version) -> dict[str, Any]:
    given = {
        "id": run.id,
        "payload": run.payload,
        "payloadType": run.payload_type,
        "tags": run.tags,
        "isTest": run.is_test,
        "isReplay": run.replay_of is not None,
        "createdAt": _iso(run.created_at),
        "startedAt": _iso(run.executed_at or run.created_at),
        "maxAttempts": run.max_attempts,
        "version": version.number,
        "idempotencyKey": (run.idempotency_options or {}).get("key") or run.idempotency_key,
        "idempotencyKeyScope": (run.idempotency_options or {}).get("scope"),
        "maxDuration": run.max_duration,
        "priority": run.priority_ms / 1000 if run.priority_ms else None,
        "parentTaskRunId": run.parent_run_id,
        "rootTaskRunId": run.root_run_id,
        "metadata": run.metadata,
        "region": run.region,
    }
    return {name: value for name, value in given.items() if value is not None}


def _end(run: Run) -> dict[str, Any]:
    told = {
        "id": run.id,
        "task": run.task,
        "status": run.status,
        "payload": run.payload,
        "payloadType": run.payload_type,
        "error": run.error,
        "attempts": run.attempt,
        "tags": run.tags,
        "createdAt": _iso(run.created_at),
        "startedAt": run.executed_at and _iso(run.executed_at),
        "finishedAt": run.finished_at and _iso(run.finished_at),
    }
    if run.status == RunStatus.COMPLETED:
        told |= {"output": run.output, "outputType": run.output_type}
    return {name: value for name, value in told.items() if value is not None}


def _surroundings(environment: Environment, version: Version) -> dict[str, Any]:
    return {
        "environment": {"id": environment.id, "slug": environment.slug, "type": environment.type},
        "organization": {
            "id": environment.organization_id,
            "slug": environment.organization_slug,
            "name": environment.organization_name,
        },
        "project": {
            "id": environment.project_id,
            "ref": environment.project_ref,
            "slug": environment.project_slug,
            "name": environment.project_name,
        },
        "deployment": {"id": version.id, "version": version.number, "hash": version.content_hash},
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat()
