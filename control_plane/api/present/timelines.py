"""A run's history, attempts and log lines, as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.api.present.results import flat_error
from sojourn.control_plane.api.present.waits import wait_item
from sojourn.control_plane.domain.lifecycle import is_final
from sojourn.control_plane.store.records import Attempt, Checkpoint, Run, Snapshot, Wait
from sojourn.control_plane.telemetry.logs import Line


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
        "waits": [wait_item(each) for each in waits],
    }


def _hook(run: Run) -> dict[str, Any]:
    return given(
        {
            "id": run.id,
            "status": run.status,
            "attempts": run.attempt,
            "error": (run.error and is_final(run.status) and flat_error(run.error)) or None,
            "createdAt": timestamp(run.created_at),
            "finishedAt": run.finished_at and timestamp(run.finished_at),
        }
    )


def _snapshot(row: Snapshot) -> dict[str, Any]:
    return given(
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
    return given(
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
    return given(
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


def log_line(line: Line) -> dict[str, Any]:
    """A log line."""
    return given(
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
