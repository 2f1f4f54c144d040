"""Fixtures: a registry of a test's own, and assignments as the server sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sojourn.sdk import logger as loggers
from sojourn.sdk.attempt import Attempt
from sojourn.sdk.registry import Registry
from sojourn.sdk.registry import registry as global_registry
from sojourn.sdk.task import Task


@pytest.fixture(autouse=True)
def _registry_is_left_as_it_was() -> Iterator[None]:
    tasks = dict(global_registry.tasks)
    yield
    global_registry.clear()
    global_registry.tasks.update(tasks)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def lines() -> Iterator[list[tuple[str, str, dict[str, Any] | None]]]:
    kept: list[tuple[str, str, dict[str, Any] | None]] = []
    before = loggers.send_to(lambda level, message, properties: kept.append((level, message, properties)))
    yield kept
    loggers.send_to(before)


@pytest.fixture
def begin(registry: Registry) -> Callable[..., Attempt]:
    """Makes an attempt of a function, without running it."""

    def make(function: Any, payload: str | None = None, *, number: int = 1, attempts: int = 3, **options: Any) -> Attempt:
        budget = options.pop("cancel_budget", 30.0)
        payload_type = options.pop("payload_type", "application/json")
        task = function if isinstance(function, Task) else Task(function, **options)
        registry.add(task)
        return Attempt(registry, assignment(task, payload, number, attempts, payload_type), lambda: 0.0, budget)

    return make


@pytest.fixture
def attempt(begin: Callable[..., Attempt]) -> Callable[..., dict[str, Any]]:
    """Runs one attempt of a function; its outcome."""
    return lambda *arguments, **options: begin(*arguments, **options).run()


def assignment(
    task: Task, payload: str | None, number: int, attempts: int, payload_type: str = "application/json"
) -> dict[str, Any]:
    return {
        "run": {
            "id": "run_1",
            "payload": payload,
            "payloadType": payload_type,
            "tags": ["blue"],
            "isTest": False,
            "isReplay": False,
            "createdAt": "2026-03-04T12:00:00+00:00",
            "startedAt": "2026-03-04T12:00:01+00:00",
            "maxAttempts": attempts,
            "parentTaskRunId": "run_0",
            "version": "20260304.1",
            "metadata": {"camelCase": {"kept": 1}},
        },
        "attempt": {"number": number, "startedAt": "2026-03-04T12:00:01+00:00"},
        "task": {"id": task.id, "filePath": "tasks.py", "exportName": task.name},
        "retry": task.retry.to_wire(),
        "queue": {"id": "queue_1", "name": "hello"},
        "environment": {"id": "env_1", "slug": "prod", "type": "PRODUCTION"},
        "organization": {"id": "org_1", "slug": "acme", "name": "Acme"},
        "project": {"id": "project_1", "ref": "proj_x", "slug": "shop", "name": "Shop"},
        "machine": {"name": "small-1x", "cpu": 0.5, "memory": 0.5, "centsPerMs": 0},
        "deployment": {"id": "version_1", "version": "20260304.1", "hash": "ab"},
        "snapshot": 3,
        "token": "secret",
    }
