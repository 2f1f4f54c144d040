"""Runs as the store hands them out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sojourn.control_plane.domain import ids
from sojourn.control_plane.store.records import Environment, Run

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
ENVIRONMENT = Environment(
    id="env_1",
    slug="dev",
    type="DEVELOPMENT",
    paused=False,
    organization_id="org_1",
    organization_slug="default",
    organization_name="Default",
    project_id="project_1",
    project_ref="proj_abc",
    project_slug="default",
    project_name="Default",
)


def run_id(number: int = 1) -> str:
    return ids.make("run", NOW, number.to_bytes(10, "big"))


def run(**given: Any) -> Run:
    """A run that waits in the queue, but for what is given."""
    values: dict[str, Any] = dict.fromkeys(Run.__dataclass_fields__)
    values |= {
        "id": run_id(),
        "organization_id": "org_1",
        "project_id": "project_1",
        "environment_id": "env_1",
        "task": "hello",
        "status": "QUEUED",
        "snapshot": 1,
        "snapshot_status": "QUEUED",
        "payload_type": "application/json",
        "queue": "task/hello",
        "machine": "small-1x",
        "region": "default",
        "priority_ms": 0,
        "attempt": 0,
        "max_attempts": 3,
        "dequeues": 0,
        "tags": [],
        "depth": 0,
        "source": "sdk",
        "is_test": False,
        "usage_ms": 0,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Run(**(values | given))
