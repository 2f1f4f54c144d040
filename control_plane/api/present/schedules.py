"""Schedules as the API shows them."""

from __future__ import annotations

from typing import Any

from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.domain import cron, cron_words
from sojourn.control_plane.store.records import Environment, Schedule


def schedule(schedule: Schedule, environment: Environment) -> dict[str, Any]:
    """A schedule."""
    tick, last = schedule.next_tick, schedule.last_tick
    due = None if schedule.held else schedule.due_at
    return given(
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


def schedule_in_run(schedule: Schedule) -> dict[str, Any]:
    """The schedule that a run came of, in that run."""
    return given(
        {
            "id": schedule.id,
            "externalId": schedule.external_id,
            "deduplicationKey": schedule.deduplication_key,
            "generator": _generator(schedule.cron),
        }
    )


def _generator(expression: str) -> dict[str, Any]:
    return {"type": "CRON", "expression": expression, "description": cron_words.describe(cron.parse(expression))}
