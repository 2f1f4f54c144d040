"""Tasks in a test, in this process, with no platform: the same code that an executor runs, without its waits.

result = testing.run(hello, {"name": "Ada"})
assert result.ok and result.output == "Hello, Ada"

with testing.Platform():          # code under test may trigger tasks by any way it likes
    handle = hello.trigger({"name": "Ada"})
    assert handle.result().unwrap() == "Hello, Ada"
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from sojourn.sdk import client as clients
from sojourn.sdk import logger as loggers
from sojourn.sdk.attempt import Attempt
from sojourn.sdk.client import Client
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import SubtaskUnwrapError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.protocol import MACHINES, ErrorCode
from sojourn.sdk.registry import registry
from sojourn.sdk.task import Task


@dataclass(frozen=True, slots=True)
class TestResult:
    """How a run ended: `delays` are the seconds it would have waited between attempts, `logs` its lines."""

    __test__ = False

    ok: bool
    output: Any = None
    error: Mapping[str, Any] | None = None
    attempts: int = 1
    delays: tuple[float, ...] = ()
    logs: tuple[tuple[str, str], ...] = ()
    task: str = ""
    id: str = ""

    def unwrap(self) -> Any:
        """The output; `SubtaskUnwrapError` if the run did not succeed."""
        if not self.ok:
            raise SubtaskUnwrapError(self.id, self.task, self.error or {})
        return self.output


def run(task: Task, payload: Any = None, *, run_id: str = "run_test", **run_fields: Any) -> TestResult:
    """Runs a task with its retries, hooks and middleware; payload and output go through JSON as they would."""
    text = encode(payload, "the payload")
    lines: list[tuple[str, str]] = []
    delays: list[float] = []
    number = 0
    before = loggers._Output.sink
    loggers.send_to(lambda level, message, properties: lines.append((level, message)))
    try:
        while True:
            number += 1
            outcome = Attempt(registry, _assignment(task, text, run_id, number, run_fields), lambda: 0.0).run()
            if outcome["ok"] or not _again(outcome, number, task):
                break
            delays.append(outcome["retry"]["delay"] / 1000)
    finally:
        loggers.send_to(before)
    output = json.loads(outcome["output"]) if outcome["ok"] and outcome["output"] is not None else None
    return TestResult(outcome["ok"], output, outcome.get("error"), number, tuple(delays), tuple(lines), task.id, run_id)


def _again(outcome: Mapping[str, Any], number: int, task: Task) -> bool:
    error = outcome["error"]
    if error.get("code") == ErrorCode.TASK_RUN_CANCELLED:
        return False
    return bool(outcome.get("retry")) and number < task.retry.max_attempts


def _assignment(task: Task, payload: str, run_id: str, number: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    machine = MACHINES[task.machine]
    return {
        "run": {
            "id": run_id,
            "payload": payload,
            "payloadType": "application/json",
            "tags": [],
            "isTest": True,
            "isReplay": False,
            "createdAt": now,
            "startedAt": now,
            "maxAttempts": task.retry.max_attempts,
            "version": "test",
            **fields,
        },
        "attempt": {"number": number, "startedAt": now},
        "task": {"id": task.id, "filePath": task.file, "exportName": task.name},
        "retry": task.retry.to_wire(),
        "queue": {"id": "queue_test", "name": task.queue.name if task.queue else task.id},
        "environment": {"id": "env_test", "slug": "test", "type": "DEVELOPMENT"},
        "organization": {"id": "org_test", "slug": "test", "name": "Test"},
        "project": {"id": "project_test", "ref": "proj_test", "slug": "test", "name": "Test"},
        "machine": {"name": machine.name, "cpu": machine.cpu, "memory": machine.memory, "centsPerMs": 0},
        "deployment": {"id": "deployment_test", "version": "test", "hash": ""},
    }


@dataclass
class Platform:
    """While it is entered, everything that is triggered runs here at once, in the order of triggers."""

    runs: dict[str, TestResult] = field(default_factory=dict)
    _before: Client | None = None

    def __enter__(self) -> Platform:
        self._before = clients.use(Client("http://testing", "tr_dev_testing", transport=self._answer))
        return self

    def __exit__(self, *_: object) -> None:
        clients.use(self._before)

    def _answer(self, request: Request) -> Response:
        path = request.path.split("?", 1)[0]
        if match := re.fullmatch(r"/api/v1/tasks/([^/]+)/trigger", path):
            return self._trigger(unquote(match[1]), json.loads(request.body or b"{}"))
        if match := re.fullmatch(r"/api/v\d/runs/([^/]+)(/result|/cancel)?", path):
            run_id, action = unquote(match[1]), match[2]
            if run_id not in self.runs:
                return _response(404, {"error": "Run not found", "code": "RUN_NOT_FOUND"})
            if action == "/cancel":
                return _response(200, {"id": run_id})
            return _response(200, self._result(run_id) if action else self._run(run_id))
        return _response(404, {"error": f"sojourn.testing has no {path}", "code": "NOT_FOUND"})

    def _trigger(self, task_id: str, body: Mapping[str, Any]) -> Response:
        task = registry.tasks.get(task_id)
        if task is None:
            known = ", ".join(sorted(registry.tasks)) or "none"
            return _response(404, {"error": f"no task {task_id!r} was imported; there are: {known}", "code": "NOT_FOUND"})
        from sojourn.sdk import context

        run_id = f"run_test{len(self.runs) + 1}"
        outer = context.inside()
        try:
            self.runs[run_id] = run(task, body.get("payload"), run_id=run_id)
        finally:
            context.enter(outer)
        return _response(200, {"id": run_id, "isCached": False})

    def _result(self, run_id: str) -> dict[str, Any]:
        result = self.runs[run_id]
        common = {"ok": result.ok, "id": run_id, "taskIdentifier": result.task}
        if not result.ok:
            return {**common, "error": result.error}
        return {**common, "output": encode(result.output), "outputType": "application/json"}

    def _run(self, run_id: str) -> dict[str, Any]:
        result, now = self.runs[run_id], datetime.now(UTC).isoformat()
        shown = {
            "id": run_id,
            "status": "COMPLETED" if result.ok else "FAILED",
            "taskIdentifier": result.task,
            "createdAt": now,
            "finishedAt": now,
            "attemptCount": result.attempts,
        }
        return {**shown, "output": result.output} if result.ok else {**shown, "error": result.error}


def _response(status: int, body: Mapping[str, Any]) -> Response:
    return Response(status, {}, json.dumps(body).encode())
