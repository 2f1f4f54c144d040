"""Tasks in a test, in this process, with no platform: the same code that an executor runs, without its waits.

result = testing.run(hello, {"name": "Ada"})
assert result.ok and result.output == "Hello, Ada"

with testing.Platform():          # code under test may trigger tasks by any way it likes
    handle = hello.trigger({"name": "Ada"})
    assert handle.result().unwrap() == "Hello, Ada"
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sojourn.sdk import log_handler
from sojourn.sdk import logger as loggers
from sojourn.sdk.attempt import Attempt
from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import PayloadError
from sojourn.sdk.protocol import MACHINES, MAX_PAYLOAD_BYTES
from sojourn.sdk.registry import Registry, registry
from sojourn.sdk.result import TaskResult
from sojourn.sdk.task import Task


class Ended(TaskResult):
    """How a run ended. `attempts`: how many it had; `delays`: the seconds it would have waited between them;

    `logs`: its lines as (level, message, properties).
    """

    __slots__ = ("attempts", "delays", "logs")
    attempts: int
    delays: tuple[float, ...]
    logs: tuple[tuple[str, str, Mapping[str, Any]], ...]

    def __init__(
        self,
        ok: bool,
        id: str,
        task: str,
        output: Any = None,
        error: Mapping[str, Any] | None = None,
        attempts: int = 1,
        delays: tuple[float, ...] = (),
        logs: tuple[tuple[str, str, Mapping[str, Any]], ...] = (),
    ):
        self._keep(ok, id, task, output, error, attempts, delays, logs)


def run(task: Task, payload: Any = None, **run_fields: Any) -> Ended:
    """Runs a task with its retries, hooks and middleware; payload and output go through JSON as they would.

    `run_fields` are what `context.run` has: `tags=["a"]`, `is_test=False`, `max_attempts=1` … Pauses between attempts
    are not slept, only told; they are the shortest that the options allow. PayloadError for what is not JSON.
    """
    text = encode(payload, "the payload", MAX_PAYLOAD_BYTES, PayloadError)
    wire = {_camel(name): value for name, value in run_fields.items()}
    return outside_loops(lambda: run_wire(registry, task, None if payload is None else text, wire))


def outside_loops(call: Callable[[], Any]) -> Any:
    """Calls in this thread, or in one of its own where an event loop runs in this one, as in an `async def` test."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return call()
    kept: list[Any] = []

    def keep() -> None:
        try:
            kept.append((call(), None))
        except BaseException as error:
            kept.append((None, error))

    thread = threading.Thread(target=keep, name="sojourn-testing")
    thread.start()
    thread.join()
    value, error = kept[0]
    if error is not None:
        raise error
    return value


def run_wire(known: Registry, task: Task, payload: str | None, run_fields: Mapping[str, Any]) -> Ended:
    """Runs a task as `run` does, from a payload's JSON text and the run's fields as the wire has them."""
    given = _assignment(task, payload, run_fields)
    lines: list[tuple[str, str, Mapping[str, Any]]] = []
    delays: list[float] = []
    handler = loggers.RunHandler()
    log_handler.install(handler)
    before = loggers.send_to(lambda level, message, properties: lines.append((level, message, properties or {})))
    try:
        while True:
            outcome = Attempt(known, given, lambda: 0.0).run()
            if outcome["ok"] or not outcome.get("retry"):
                break
            delays.append(outcome["retry"]["delay"] / 1000)
            given = {**given, "attempt": {"number": len(delays) + 1, "startedAt": now_text()}}
    finally:
        loggers.send_to(before)
        log_handler.remove(handler)
    output = json.loads(outcome["output"]) if outcome["ok"] else None
    run_id = given["run"]["id"]
    told = (tuple(delays), tuple(lines))
    return Ended(outcome["ok"], run_id, task.id, output, outcome.get("error"), len(delays) + 1, *told)


def _assignment(task: Task, payload: str | None, run_fields: Mapping[str, Any]) -> dict[str, Any]:
    now = now_text()
    machine = MACHINES[run_fields.get("machine") or task.machine]
    run_id = run_fields.get("id") or "run_test"
    return {
        "run": {
            "payload": payload,
            "payloadType": "application/json",
            "tags": [],
            "isTest": True,
            "isReplay": False,
            "createdAt": now,
            "startedAt": now,
            "maxAttempts": task.retry.max_attempts,
            "maxDuration": task.max_duration,
            "rootTaskRunId": run_id,
            "version": "test",
            **run_fields,
            "id": run_id,
        },
        "attempt": {"number": 1, "startedAt": now},
        "task": {"id": task.id, "filePath": task.file, "exportName": task.name},
        "retry": task.retry.to_wire(),
        "queue": {"id": "queue_test", "name": run_fields.get("queue") or (task.queue.name if task.queue else task.id)},
        "environment": {"id": "env_test", "slug": "test", "type": "DEVELOPMENT"},
        "organization": {"id": "org_test", "slug": "test", "name": "Test"},
        "project": {"id": "project_test", "ref": "proj_test", "slug": "test", "name": "Test"},
        "machine": {"name": machine.name, "cpu": machine.cpu, "memory": machine.memory, "centsPerMs": 0},
        "deployment": {"id": "deployment_test", "version": "test", "hash": ""},
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def now_text() -> str:
    """This moment, as the wire has it."""
    return datetime.now(UTC).isoformat()
