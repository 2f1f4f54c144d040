"""A run in a test, in this process: the same code that an executor runs; pauses and waits are told, not slept."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from sojourn.sdk import log_handler
from sojourn.sdk import logger as loggers
from sojourn.sdk.attempt import Attempt
from sojourn.sdk.conditions import Condition
from sojourn.sdk.metadata import metadata_of
from sojourn.sdk.protocol import MACHINES, RunStatus
from sojourn.sdk.registry import Registry
from sojourn.sdk.result import TaskResult
from sojourn.sdk.task import Task
from sojourn.sdk.testing_waits import PlayedWaits


class Ended(TaskResult):
    """How a run ended. `attempts`: how many it had; `delays`: the seconds it would have waited between them;

    `logs`: its lines as (level, message, properties); `waited`: what it waited for, as `wait.delay(…)` and the like make
    it; `metadata`: as the run left it.
    """

    __slots__ = ("attempts", "delays", "logs", "metadata", "waited")
    attempts: int
    delays: tuple[float, ...]
    logs: tuple[tuple[str, str, Mapping[str, Any]], ...]
    waited: tuple[Condition, ...]
    metadata: Mapping[str, Any]

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
        waited: tuple[Condition, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ):
        self._keep(ok, id, task, output, error, attempts, delays, logs, waited, metadata or {})


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


def run_wire(known: Registry, task: Task, payload: str | None, run_fields: Mapping[str, Any], waits: PlayedWaits) -> Ended:
    """Runs a task with its retries, from a payload's JSON text and the run's fields as the wire has them.

    `NobodyCompletesError` if it waits for what never comes.
    """
    given = _assignment(task, payload, run_fields, waits.told())
    lines: list[tuple[str, str, Mapping[str, Any]]] = []
    delays: list[float] = []
    handler = loggers.RunHandler()
    log_handler.install(handler)
    before = loggers.send_to(lambda level, message, properties: lines.append((level, message, properties or {})))
    try:
        while True:
            attempt = waits.attempt = Attempt(known, given, lambda: 0.0, port=waits, now=waits.seconds)
            outcome = attempt.run()
            if waits.failure is not None:
                raise waits.failure
            if outcome["ok"] or not outcome.get("retry"):
                break
            delays.append(outcome["retry"]["delay"] / 1000)
            run = {**given["run"], "metadata": metadata_of(attempt.context)}
            given = {**given, "run": run, "attempt": {"number": len(delays) + 1, "startedAt": waits.told()}}
        if known.hooks.of("on_end") or task.hooks.of("on_end"):
            _tell_end(known, task, given, outcome, waits)
    finally:
        loggers.send_to(before)
        log_handler.remove(handler)
    output = json.loads(outcome["output"]) if outcome["ok"] else None
    run_id = given["run"]["id"]
    told = (tuple(delays), tuple(lines), tuple(waits.waited), metadata_of(attempt.context))
    return Ended(outcome["ok"], run_id, task.id, output, outcome.get("error"), len(delays) + 1, *told)


def _tell_end(
    known: Registry, task: Task, given: Mapping[str, Any], outcome: Mapping[str, Any], waits: PlayedWaits
) -> None:
    """Calls `on_end` hooks once, as the platform would; what one raises is a line of the run's log."""
    end = {
        "id": given["run"]["id"],
        "task": task.id,
        "status": RunStatus.COMPLETED if outcome["ok"] else RunStatus.FAILED,
        "payload": given["run"]["payload"],
        "payloadType": given["run"]["payloadType"],
        "output": outcome.get("output"),
        "error": outcome.get("error"),
        "attempts": given["attempt"]["number"],
        "tags": given["run"]["tags"],
        "createdAt": given["run"]["createdAt"],
        "startedAt": given["run"]["startedAt"],
        "finishedAt": waits.told(),
    }
    hook = {**given, "run": {**given["run"], "id": f"{end['id']}_hook"}, "attempt": {**given["attempt"], "number": 1}}
    waits.attempt = Attempt(known, {**hook, "end": end}, lambda: 0.0, port=waits, now=waits.seconds)
    told = waits.attempt.run()
    if waits.failure is not None:
        raise waits.failure
    if not told["ok"]:
        loggers.logger.error(f"an on_end hook raised {told['error'].get('name')}: {told['error'].get('message')}")


def _assignment(task: Task, payload: str | None, run_fields: Mapping[str, Any], now: str) -> dict[str, Any]:
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
