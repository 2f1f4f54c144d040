"""Triggering: a request's body and headers become the engine's words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.api.body import parse
from sojourn.control_plane.api.call import Answer, Call
from sojourn.control_plane.api.models.texts import identifier, key_text
from sojourn.control_plane.api.models.triggers import DebounceOption, RunOptions, TriggerBody, TriggerOptions
from sojourn.control_plane.api.parents import require_parent
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.public_tokens import HandleTokens
from sojourn.control_plane.domain import duration, ids, names
from sojourn.control_plane.domain.debounce import SHORTEST_DELAY, Debounce
from sojourn.control_plane.engine.packets import Packets, Text
from sojourn.control_plane.engine.triggering import DEFAULT_IDEMPOTENCY_SECONDS, Triggering, TriggerRequest
from sojourn.control_plane.store.packets import STORED
from sojourn.control_plane.store.records import Environment
from sojourn.sdk.protocol import (
    MAX_IDEMPOTENCY_KEY_CHARS,
    MAX_METADATA_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_TAGS,
    MIN_MAX_DURATION,
    NO_MAX_DURATION,
)
from sojourn.sdk.sizes import exceeds

_KEY_TTL = re.compile(r"[0-9]{1,9}[smhd]")
_SOURCE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_VISIBLE = re.compile(r"[!-~]{1,255}")
_TEXT_TYPES = frozenset({"text/plain"})
_JSON_TYPES = frozenset({"application/json"})
SUPER_JSON = "application/super+json"
#: Types of texts that say by themselves what they stand for.
_WRAPPED_TYPES = _TEXT_TYPES | {SUPER_JSON}
#: What this release cannot do; a run that ignored it would not be what was asked for.
_UNSUPPORTED = ("parentBatch",)
_NO_OPTIONS = TriggerOptions()

#: What a client has uploaded to a path before it triggers.
Uploads = Callable[[str], Text]


class Tasks:
    """What can be done with a task."""

    def __init__(self, triggering: Triggering, packets: Packets, handles: HandleTokens):
        self._triggering = triggering
        self._packets = packets
        self._handles = handles

    def trigger(self, call: Call, task: str) -> Answer:
        """Stores a run and answers with its id, and a public token that reads it."""
        request = trigger_request(call, task, uploads_of(self._packets, call.environment))
        require_parent(call, request.parent_run_id)
        made = self._triggering.trigger(call.environment, request, call.now)
        body = b'{"id":"%s","isCached":%s}' % (made.id.encode(), b"true" if made.cached else b"false")
        return Answer(body, headers=self._handles.of_run(call, made.id, made.cached))


def uploads_of(packets: Packets, environment: Environment) -> Uploads:
    """What the clients of an environment have uploaded, and nobody else's."""
    return lambda path: packets.uploaded(environment.id, path)


def trigger_request(call: Call, task: str, uploads: Uploads | None = None) -> TriggerRequest:
    """What a call asks for. `Problem` names the field that cannot be used."""
    body: TriggerBody = call.body
    options = body.options or _NO_OPTIONS
    if options.resumeParentOnCompletion:
        raise no_waiting("options.resumeParentOnCompletion")
    return run_request(
        task_id(task),
        body.payload,
        options,
        _idempotency(call, options),
        call.now,
        source=source(call),
        request_key=request_key(call),
        parent_run_id=parent_id(options.parentRunId, "options.parentRunId"),
        uploads=uploads,
    )


def run_request(
    task: str,
    value: Any,
    options: RunOptions,
    key: tuple[str | None, int],
    now: datetime,
    *,
    source: str,
    request_key: str | None = None,
    parent_run_id: str | None = None,
    uploads: Uploads | None = None,
) -> TriggerRequest:
    """One run, from the payload and the options that name it. `key`: its idempotency key and that one's life."""
    _refuse_unsupported(options)
    named = media_type(options.payloadType)
    if named == STORED:
        value, named = _uploaded(value, uploads)
    payload, payload_type = _payload(value, named)
    limit = options.maxDuration
    return TriggerRequest(
        task=task,
        payload=payload,
        payload_type=payload_type,
        queue=options.queue.name if options.queue else None,
        concurrency_key=None if options.concurrencyKey is None else key_text(options.concurrencyKey),
        delay_until=_delay(options.delay, now) if options.delay else None,
        ttl_seconds=_ttl(options.ttl),
        priority_ms=round(options.priority * 1000) if options.priority else 0,
        idempotency_key=key[0],
        idempotency_ttl_seconds=key[1],
        idempotency_options=options.idempotencyKeyOptions.model_dump() if options.idempotencyKeyOptions else None,
        request_key=request_key,
        tags=tags_of(options.tags, "options.tags") if options.tags else (),
        metadata=None if options.metadata is None else _metadata(options.metadata),
        machine=options.machine,
        region=options.region,
        max_attempts=options.maxAttempts,
        max_duration=None if limit is None else max(MIN_MAX_DURATION, min(int(limit), NO_MAX_DURATION)),
        version=options.lockToVersion,
        is_test=bool(options.test),
        parent_run_id=parent_run_id,
        source=source,
        external_deployment_id=external_id(options.externalDeploymentId),
        debounce=_debounce(options.debounce) if options.debounce else None,
    )


def external_id(given: str | None) -> str | None:
    """What a deployment is called by who deployed it; blank is nothing."""
    return (given or "").strip() or None


def task_id(text: str) -> str:
    """A task's id out of a path."""
    flaw = names.task_flaw(text)
    if flaw is not None:
        raise Problem("PARAMS_INVALID", f"{flaw[0].upper()}{flaw[1:]}.", field="taskId")
    return text


def request_key(call: Call) -> str | None:
    """The key under which a client sends one logical request, so that a repetition of it counts once.

    It is bound to the address: the same key sent to another one is another request; and to the public token, since what
    it leads to is shown to whoever sends it.
    """
    key = call.header("x-trigger-request-idempotency-key")
    if key is None:
        return None
    if not _VISIBLE.fullmatch(key):
        raise Problem("HEADERS_INVALID", field="x-trigger-request-idempotency-key")
    path: str = call.headers.get("PATH_INFO", "")
    token = call.visitor.token if call.visitor else None
    bound = [path, key] if token is None else [path, key, token.hash]
    return hashlib.sha256("\n".join(bound).encode("utf-8", "surrogatepass")).hexdigest()


def source(call: Call) -> str:
    """What triggered: `sdk`, `cli` …; `api` for clients that do not say."""
    named = call.header("x-trigger-source") or ""
    return named if _SOURCE.fullmatch(named) else "api"


def no_waiting(field: str) -> Problem:
    """Runs wait by calls of their own, not by what triggers."""
    return Problem(
        "OPTION_UNSUPPORTED",
        "A run is not blocked by what triggers: its own code says what it waits for.",
        field=field,
        next_step="leave the option out, and wait by trigger_and_wait in the task",
    )


def _refuse_unsupported(options: RunOptions) -> None:
    given = options.model_fields_set
    if not given:
        return
    for name in _UNSUPPORTED:
        if name in given and getattr(options, name):
            raise Problem("OPTION_UNSUPPORTED", field=f"options.{name}")


def media_type(named: str | None) -> str:
    """A payload's type without its parameters; JSON where none is named."""
    return (named or "application/json").split(";", 1)[0].strip().lower()


def _uploaded(path: Any, uploads: Uploads | None) -> tuple[str, str]:
    """A payload that was uploaded before, and its type; as it would come in a body, if it were JSON."""
    if not isinstance(path, str) or not path or uploads is None:
        raise Problem("BODY_INVALID", "payload: must be the `storagePath` of an upload", field="payload")
    try:
        found = uploads(path)
        named = media_type(found.media_type)
        return (found.text, named) if named in _WRAPPED_TYPES else (parse(found.text.encode()), "application/json")
    except ValueError as error:
        raise Problem("BODY_INVALID", f"payload: {error}", field="payload") from None


def _payload(value: Any, media_type: str) -> tuple[str | None, str]:
    """The payload as stored: JSON text, or the text itself where its type says so."""
    if value is None:
        return None, "application/json"
    if media_type in _TEXT_TYPES and isinstance(value, str):
        return _plain_text(value), "text/plain"
    if media_type == SUPER_JSON and isinstance(value, str):
        value = unwrapped(value)
    elif media_type not in _JSON_TYPES:
        raise Problem(
            "PAYLOAD_TYPE_UNSUPPORTED",
            f"The payload type {media_type[:100]!r} is not accepted.",
            field="options.payloadType",
        )
    return packet_text(value, "payload"), "application/json"


def _plain_text(text: str) -> str:
    try:
        identifier(text)
    except ValueError as error:
        raise Problem("BODY_INVALID", f"payload: {error}", field="payload") from None
    if len(text) > MAX_PAYLOAD_BYTES or len(text.encode()) > MAX_PAYLOAD_BYTES:
        raise _too_large("payload")
    return text


def packet_text(value: Any, field: str) -> str:
    """A payload, or what a token is completed with, as it is stored: JSON text of 3 MiB at most."""
    text = json_text(value, field)
    if exceeds(text, MAX_PAYLOAD_BYTES):
        raise _too_large(field)
    return text


def _too_large(field: str) -> Problem:
    return Problem("BODY_TOO_LARGE", f"The {field} has more than {MAX_PAYLOAD_BYTES} bytes as UTF-8.", field=field)


def unwrapped(text: str) -> Any:
    """The plain value in the envelope `{"json": value, "meta"?: …}` that some clients send."""
    envelope = parse(text.encode("utf-8", "surrogatepass"))
    if not isinstance(envelope, dict) or "json" not in envelope:
        raise Problem("BODY_INVALID", "payload: must be an object with `json`", field="payload")
    return envelope["json"]


def json_text(value: Any, field: str) -> str:
    """Compact JSON text. Numbers beyond what a float holds are refused."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise Problem("BODY_INVALID", f"{field}: a number is too large for JSON", field=field) from None


def _metadata(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = parse(value.encode())
        except (Problem, UnicodeEncodeError):
            value = None
    if not isinstance(value, dict):
        raise Problem("BODY_INVALID", "options.metadata: must be an object, or its JSON", field="options.metadata")
    text = json_text(value, "options.metadata")
    if exceeds(text, MAX_METADATA_BYTES):
        raise Problem("METADATA_TOO_LARGE", field="options.metadata")
    return text


def _idempotency(call: Call, options: TriggerOptions) -> tuple[str | None, int]:
    """Key and its life in seconds; headers go before the body."""
    key, ttl = idempotency_headers(call)
    return kept_key(key or options.idempotencyKey, ttl or options.idempotencyKeyTTL, "options.idempotencyKeyTTL")


def idempotency_headers(call: Call) -> tuple[str | None, str | None]:
    """An idempotency key and its life, as headers say them."""
    key, ttl = call.header("idempotency-key"), call.header("idempotency-key-ttl")
    if key is not None and (len(key.encode()) > MAX_IDEMPOTENCY_KEY_CHARS or not key.isprintable()):
        raise Problem("HEADERS_INVALID", field="idempotency-key")
    if ttl is not None and not _KEY_TTL.fullmatch(ttl):
        raise Problem("HEADERS_INVALID", 'Write it like "30d".', field="idempotency-key-ttl")
    return key, ttl


def kept_key(key: str | None, ttl: str | None, field: str) -> tuple[str | None, int]:
    """An idempotency key and its life in seconds."""
    return key, DEFAULT_IDEMPOTENCY_SECONDS if ttl is None else _seconds(ttl, field)


def tags_of(given: str | list[str], field: str) -> list[str]:
    """Tags without blank ones; `Problem` for too many."""
    tags = [tag for tag in ([given] if isinstance(given, str) else given) if tag.strip()]
    if len(set(tags)) > MAX_TAGS:
        raise Problem("TOO_MANY_TAGS", f"There are {len(set(tags))} tags.", field=field)
    return tags


def _ttl(given: str | int | None) -> int | None:
    return _seconds(given, "options.ttl") if isinstance(given, str) else given


def _seconds(text: str, field: str) -> int:
    try:
        return duration.seconds(text)
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"{field}: {error}", field=field) from None


def _debounce(option: DebounceOption) -> Debounce:
    field = "options.debounce"
    delay = timedelta(seconds=_seconds(option.delay, f"{field}.delay"))
    longest = timedelta(seconds=_seconds(option.maxDelay, f"{field}.maxDelay")) if option.maxDelay else None
    if delay < SHORTEST_DELAY:
        raise Problem("BODY_INVALID", f"{field}.delay: is 1 second at least", field=f"{field}.delay")
    if longest is not None and longest <= delay:
        raise Problem("BODY_INVALID", f"{field}.maxDelay: must be more than delay", field=f"{field}.maxDelay")
    return Debounce(option.key, delay, option.mode == "trailing", longest)


def _delay(text: str, now: datetime) -> datetime | None:
    try:
        return duration.ahead(text, now)
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"options.delay: {error}", field="options.delay") from None


def parent_id(run_id: str | None, field: str) -> str | None:
    """The id of the run that triggers; what cannot be one is refused."""
    if run_id is not None and not ids.is_id(run_id, "run"):
        raise Problem("BODY_INVALID", f"{field}: is no run's id", field=field)
    return run_id
