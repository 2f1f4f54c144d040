"""The options a user writes on a trigger, brought into the wire's words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sojourn.sdk import context
from sojourn.sdk.durations import duration, seconds
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.idempotency_keys import IdempotencyKey, key_text
from sojourn.sdk.named import texts
from sojourn.sdk.options import Debounce, Queue, nearest

#: Trigger options as a user writes them -> as the wire has them.
TRIGGER_OPTIONS = {
    "queue": "queue",
    "concurrency_key": "concurrencyKey",
    "delay": "delay",
    "ttl": "ttl",
    "idempotency_key": "idempotencyKey",
    "idempotency_key_ttl": "idempotencyKeyTTL",
    "tags": "tags",
    "metadata": "metadata",
    "machine": "machine",
    "region": "region",
    "max_attempts": "maxAttempts",
    "max_duration": "maxDuration",
    "priority": "priority",
    "version": "lockToVersion",
    "external_deployment_id": "externalDeploymentId",
    "debounce": "debounce",
    "test": "test",
}


def trigger_options(given: Mapping[str, Any], run_id: str | None = None) -> dict[str, Any]:
    """The options on the wire; an unknown one is a TypeError that names the nearest.

    `run_id`: the run that triggers. An idempotency key that is written inside a run holds for that run (so that its
    second attempt does not trigger again), one that is written in an app holds for the environment.
    """
    wire: dict[str, Any] = {}
    for name, value in given.items():
        if name not in TRIGGER_OPTIONS:
            raise TypeError(f"trigger has no option {nearest(str(name), TRIGGER_OPTIONS)}")
        if value is not None:
            wire[TRIGGER_OPTIONS[name]] = _WRITTEN[name](value) if name in _WRITTEN else value
    key = given.get("idempotency_key")
    if isinstance(key, IdempotencyKey):
        wire |= key.to_wire()
    if run_id is not None:
        if "idempotencyKey" in wire and not isinstance(key, IdempotencyKey):
            wire |= _of_run(wire["idempotencyKey"], run_id)
        wire["parentRunId"] = run_id
    return wire


def _queue(value: Any) -> dict[str, str]:
    return {"name": value.name if isinstance(value, Queue) else str(value)}


def _delay(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError("delay is a datetime without a time zone: add tzinfo=timezone.utc")
        return value.isoformat()
    if isinstance(value, str):
        return value
    return f"{math.ceil(max(duration(value), 0))}s"


def _debounce(value: Any) -> dict[str, Any]:
    given = Debounce.of(value)
    wire: dict[str, Any] = {"key": given.key, "delay": f"{seconds(given.delay)}s", "mode": given.mode}
    if given.max_delay is not None:
        wire["maxDelay"] = f"{seconds(given.max_delay)}s"
    return wire


def _tags(value: Any) -> Any:
    return value if isinstance(value, str) else texts(value, "tags")


def idempotency_key(value: Any, run_id: str | None) -> str:
    """A key as the platform has it: one that is written inside a run holds for that run."""
    key = key_text(value)
    return key if run_id is None or isinstance(value, IdempotencyKey) else str(_of_run(key, run_id)["idempotencyKey"])


def key_options(value: Any, ttl: Any) -> dict[str, Any]:
    """The key of what is no run, and how long it holds, on the wire."""
    wire: dict[str, Any] = {}
    if value is not None:
        here = context.inside()
        wire["idempotencyKey"] = idempotency_key(value, here.run.id if here is not None else None)
    if ttl is not None:
        wire["idempotencyKeyTTL"] = f"{seconds(ttl)}s"
    return wire


def _of_run(key: str, run_id: str) -> dict[str, Any]:
    from hashlib import sha256

    hashed = sha256(f"{key}-{run_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return {"idempotencyKey": hashed, "idempotencyKeyOptions": {"key": key, "scope": "run"}}


_WRITTEN = {
    "queue": _queue,
    "delay": _delay,
    "debounce": _debounce,
    "ttl": seconds,
    "idempotency_key": key_text,
    "idempotency_key_ttl": lambda value: f"{seconds(value)}s",
    "tags": _tags,
}
