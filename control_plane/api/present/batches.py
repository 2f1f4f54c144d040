"""Batches as the API shows them, in the words of each of its versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.engine.batches import Standing
from sojourn.control_plane.store.batches import Flawed, NamedItem
from sojourn.control_plane.store.records import Batch
from sojourn.sdk.protocol import ErrorCode


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
        given(
            {
                "id": item.run_id,
                "taskIdentifier": item.task,
                "isCached": item.cached or cached,
                "idempotencyKey": item.idempotency_key,
            }
        )
        for item in items
    ]
    return given({"id": batch.id, "isCached": cached, "idempotencyKey": batch_key(batch), "runs": runs})


def _batch(standing: Standing) -> dict[str, Any]:
    batch = standing.batch
    return given(
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
