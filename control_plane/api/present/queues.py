"""Queues as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.domain import duration
from sojourn.control_plane.engine.queues import QueueState
from sojourn.control_plane.store.records import QueueKey

#: What the name of a task's own queue begins with.
_OF_TASK = "task/"


def queue(state: QueueState) -> dict[str, Any]:
    """A queue. Here null stands for no limit, as clients expect it."""
    queue, load = state.queue, state.load
    is_task = queue.name.startswith(_OF_TASK)
    wire: dict[str, Any] = {
        "id": queue.id,
        "name": queue.name.removeprefix(_OF_TASK),
        "type": "task" if is_task else "custom",
        "running": load.running,
        "queued": load.waiting,
        "paused": queue.paused,
        "concurrencyLimit": queue.limit,
        "concurrency": {
            "current": queue.limit,
            "base": queue.base_limit,
            "override": queue.limit if queue.is_overridden else None,
            "overriddenAt": queue.overridden_at and timestamp(queue.overridden_at),
            "overriddenBy": None,
        },
        "releaseConcurrencyOnWaitpoint": True,
    }
    if queue.override_percent is not None:
        wire["concurrencyLimitOverridePercent"] = queue.override_percent
    keys = [_queue_key(key) for key in state.keys] or None
    return wire | given({"rate": _rate(queue.rate), "keyRate": _rate(queue.key_rate), "keys": keys})


def _queue_key(key: QueueKey) -> dict[str, Any]:
    more = {
        "concurrencyLimitOverridePercent": key.override_percent,
        "overriddenAt": key.overridden_at and timestamp(key.overridden_at),
        "rate": _rate(key.rate),
    }
    return {"concurrencyKey": key.key, "concurrencyLimit": key.limit} | given(more)


def _rate(rate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {"limit": rate["limit"], "period": duration.written(rate["seconds"]), "burst": rate["burst"]}
