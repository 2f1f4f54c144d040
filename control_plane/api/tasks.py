"""Triggering."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import falcon

from sojourn.control_plane.api import auth, body
from sojourn.control_plane.api.bodies import TriggerBody, TriggerOptions
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import duration
from sojourn.control_plane.engine.triggering import TriggerRequest
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, MIN_MAX_DURATION

#: A little above the payload's own limit, for what is around it.
MAX_TRIGGER_BYTES = MAX_PAYLOAD_BYTES + 16 * 1024 + MAX_METADATA_BYTES
_MAX_TASK_CHARS = 256
_IDEMPOTENCY_UNITS = ("s", "m", "h", "d")
_NOTHING = TriggerOptions()


class TriggerResource:
    """POST /api/v1/tasks/{taskId}/trigger"""

    def __init__(self, platform: Platform):
        self._platform = platform

    def on_post(self, request: falcon.Request, response: falcon.Response, task_id: str) -> None:
        platform = self._platform
        now = platform.clock()
        environment = auth.environment(request, platform.access, now)
        given = body.take(request, TriggerBody, MAX_TRIGGER_BYTES, optional=True)
        wish = _wish(task_id, given, request, now)
        triggered = platform.triggering.trigger(environment, wish, now)
        response.data = json.dumps({"id": triggered.id, "isCached": triggered.cached}).encode()
        response.content_type = falcon.MEDIA_JSON
        response.set_header("x-trigger-jwt-claims", json.dumps({"sub": environment.id, "pub": True}))


def _wish(task_id: str, given: TriggerBody, request: falcon.Request, now: datetime) -> TriggerRequest:
    if not task_id or len(task_id) > _MAX_TASK_CHARS or not task_id.isprintable():
        raise Problem("INVALID_QUERY", f"a task's id has 1 to {_MAX_TASK_CHARS} printable characters", field="taskId")
    options = given.options or _NOTHING
    payload, payload_type = _payload(given.payload, options)
    metadata = _metadata(options.metadata)
    key = request.get_header("idempotency-key") or options.idempotencyKey
    return TriggerRequest(
        task=task_id,
        payload=payload,
        payload_type=payload_type,
        queue=options.queue.name if options.queue else None,
        concurrency_key=options.concurrencyKey or None,
        delay_until=_moment(options.delay, "options.delay", now),
        ttl_seconds=_seconds(options.ttl, "options.ttl"),
        priority_ms=round((options.priority or 0) * 1000),
        idempotency_key=key,
        idempotency_ttl_seconds=_key_seconds(options.idempotencyKeyTTL),
        idempotency_options=options.idempotencyKeyOptions.model_dump() if options.idempotencyKeyOptions else None,
        request_key=_request_key(request),
        tags=options.tags or (),
        metadata=metadata,
        machine=options.machine,
        max_attempts=options.maxAttempts,
        max_duration=None if options.maxDuration is None else max(int(options.maxDuration), MIN_MAX_DURATION),
        version=options.lockToVersion,
        is_test=bool(options.test),
        parent_run_id=options.parentRunId,
        source=(request.get_header("x-trigger-source") or "api")[:32],
    )


def _payload(value: Any, options: TriggerOptions) -> tuple[str | None, str]:
    """The payload as text. A packet's text is taken as it is; anything else becomes JSON in ASCII."""
    kind = options.payloadType
    if kind is None or not isinstance(value, str):
        return (None if value is None else json.dumps(value, separators=(",", ":"))), "application/json"
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise Problem("INVALID_BODY", "payload: must not contain NUL or half a surrogate pair", field="payload")
    if kind == "application/super+json":
        kind, value = "application/json", _plain_json(value)
    if kind == "application/json":
        body.parse(value.encode())
    return value, kind


def _plain_json(text: str) -> str:
    """What a packet of the extended JSON holds, its type notes left out."""
    found = body.parse(text.encode())
    return json.dumps(found["json"] if isinstance(found, dict) and "json" in found else found)


def _metadata(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    if len(text) > MAX_METADATA_BYTES:
        raise Problem("BODY_TOO_LARGE", f"metadata has more than {MAX_METADATA_BYTES} bytes", field="options.metadata")
    if not isinstance(body.parse(text.encode("utf-8", "surrogatepass")), dict):
        raise Problem("INVALID_BODY", "metadata must be an object", field="options.metadata")
    return text


def _moment(text: str | None, field: str, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        found = duration.moment(text, now)
    except ValueError as error:
        raise Problem("INVALID_BODY", f"{field}: {error}", field=field) from None
    return found if found > now + timedelta(milliseconds=1) else None


def _seconds(value: int | str | None, field: str) -> int | None:
    if value is None or isinstance(value, int):
        return value
    try:
        return duration.seconds(value)
    except ValueError as error:
        raise Problem("INVALID_BODY", f"{field}: {error}", field=field) from None


def _key_seconds(text: str | None) -> int:
    from sojourn.control_plane.engine.triggering import DEFAULT_IDEMPOTENCY_SECONDS

    if text is None or not text[:-1].isdigit() or not text.endswith(_IDEMPOTENCY_UNITS):
        return DEFAULT_IDEMPOTENCY_SECONDS
    found = _seconds(text, "options.idempotencyKeyTTL")
    return DEFAULT_IDEMPOTENCY_SECONDS if found is None else found


def _request_key(request: falcon.Request) -> str | None:
    key = request.get_header("x-trigger-request-idempotency-key")
    return key[:128] if key else None
