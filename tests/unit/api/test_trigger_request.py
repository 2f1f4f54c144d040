"""A trigger's body and headers in the engine's words."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.edge import read_body
from sojourn.control_plane.api.models.triggers import TriggerBody, TriggerOptions
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.tasks import trigger_request
from sojourn.control_plane.domain.debounce import Debounce
from sojourn.control_plane.engine.triggering import TriggerRequest
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES
from tests.unit.api.factories import ENVIRONMENT, NOW, run_id


def asked(body: Any, task: str = "hello", **headers: str) -> TriggerRequest:
    env = {"HTTP_" + name.upper(): value for name, value in headers.items()}
    model = read_body(b"-", TriggerBody, lambda raw: body)
    return trigger_request(Call(ENVIRONMENT, NOW, model, None, env), task)


def refused(body: Any, **headers: str) -> tuple[str, str | None]:
    with pytest.raises(Problem) as caught:
        asked(body, **headers)
    return caught.value.code, caught.value.field


def test_nothing_given_is_as_the_task_has_it() -> None:
    assert asked({}) == TriggerRequest(task="hello")


def test_every_option() -> None:
    request = asked(
        {
            "payload": {"a": [1, None]},
            "options": {
                "queue": {"name": "mail", "concurrencyLimit": 3},
                "concurrencyKey": "user-1",
                "delay": "1h30m",
                "ttl": "10m",
                "idempotencyKey": "k",
                "idempotencyKeyTTL": "60s",
                "idempotencyKeyOptions": {"key": "k", "scope": "global"},
                "tags": ["b", " ", "a"],
                "metadata": {"m": 1},
                "machine": "micro",
                "maxAttempts": 5,
                "maxDuration": 60.9,
                "priority": 1.5,
                "test": True,
                "lockToVersion": "20260304.1",
                "externalDeploymentId": " abc123 ",
                "debounce": {"key": "d", "delay": "5s", "mode": "trailing", "maxDelay": "1m"},
                "parentRunId": run_id(),
                "payloadSize": 7,
                "resumeParentOnCompletion": False,
            },
            "context": {"ignored": True},
        },
        x_trigger_source="cli",
        x_trigger_request_idempotency_key="11111111-2222-3333-4444-555555555555",
    )
    assert request == TriggerRequest(
        task="hello",
        payload='{"a":[1,null]}',
        queue="mail",
        concurrency_key="user-1",
        delay_until=NOW + timedelta(minutes=90),
        ttl_seconds=600,
        priority_ms=1500,
        idempotency_key="k",
        idempotency_ttl_seconds=60,
        idempotency_options={"key": "k", "scope": "global"},
        request_key=sha256(b"\n11111111-2222-3333-4444-555555555555").hexdigest(),
        tags=["b", "a"],
        metadata='{"m":1}',
        machine="micro",
        max_attempts=5,
        max_duration=60,
        version="20260304.1",
        external_deployment_id="abc123",
        debounce=Debounce("d", timedelta(seconds=5), trailing=True, max_delay=timedelta(minutes=1)),
        is_test=True,
        parent_run_id=run_id(),
        source="cli",
    )


def test_headers_go_before_the_body() -> None:
    request = asked({"options": {"idempotencyKey": "body"}}, idempotency_key="header", idempotency_key_ttl="2d")
    assert (request.idempotency_key, request.idempotency_ttl_seconds) == ("header", 172_800)


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"maxDuration": 1}, "max_duration", 5),
        ({"maxDuration": 2_147_483_647}, "max_duration", 2_147_483_647),
        ({"delay": "2020-01-01T00:00:00Z"}, "delay_until", None),
        ({"ttl": 0}, "ttl_seconds", 0),
        ({"concurrencyKey": 7}, "concurrency_key", "7"),
        ({"concurrencyKey": 7.0}, "concurrency_key", "7"),
        ({"concurrencyKey": 7.5}, "concurrency_key", "7.5"),
        ({"tags": "one"}, "tags", ["one"]),
        ({"metadata": '{"m": 1}'}, "metadata", '{"m":1}'),
        ({"queue": {"name": "task/other.task"}}, "queue", "task/other.task"),
        ({"externalDeploymentId": " "}, "external_deployment_id", None),
        ({"debounce": {"key": "d", "delay": "1h"}}, "debounce", Debounce("d", timedelta(hours=1))),
    ],
)
def test_forms_that_are_brought_over(options: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(asked({"options": options}), field) == value


@pytest.mark.parametrize(
    ("payload", "media_type", "stored"),
    [
        ("text", "text/plain", ("text", "text/plain")),
        ("text", "application/json", ('"text"', "application/json")),
        ('{"json":{"a":1},"meta":{}}', "application/super+json", ('{"a":1}', "application/json")),
        ({"a": 1}, "text/plain", None),
        ("path", "application/store", None),
        ("not an envelope", "application/super+json", None),
        ("\x00", "text/plain", None),
        ("\ud800", "text/plain", None),
    ],
)
def test_payload_types(payload: Any, media_type: str, stored: tuple[str, str] | None) -> None:
    body = {"payload": payload, "options": {"payloadType": media_type}}
    if stored is None:
        assert refused(body)[0] in ("PAYLOAD_TYPE_UNSUPPORTED", "BODY_INVALID", "INVALID_JSON")
    else:
        request = asked(body)
        assert (request.payload, request.payload_type) == stored


@pytest.mark.parametrize("char", ["x", "é"])
def test_a_payload_at_the_limit_is_taken_and_one_above_it_is_not(char: str) -> None:
    fits = char * ((MAX_PAYLOAD_BYTES - 2) // len(char.encode()))
    assert asked({"payload": fits}).payload
    assert refused({"payload": fits + char}) == ("BODY_TOO_LARGE", "payload")


def test_a_payload_may_hold_what_only_texts_of_json_may() -> None:
    assert asked({"payload": "\x00\ud800"}).payload == '"\\u0000\\ud800"'


BAD_OPTIONS = [
    ({"idempotencyKey": ""}, "options.idempotencyKey"),
    ({"idempotencyKey": "x" * 2049}, "options.idempotencyKey"),
    ({"idempotencyKey": "a\x00"}, "options.idempotencyKey"),
    ({"idempotencyKey": "\ud800"}, "options.idempotencyKey"),
    ({"idempotencyKeyTTL": "1w"}, "options.idempotencyKeyTTL"),
    ({"idempotencyKeyTTL": "99999999d"}, "options.idempotencyKeyTTL"),
    ({"ttl": -1}, "options.ttl"),
    ({"ttl": 10**18}, "options.ttl"),
    ({"ttl": "P1D"}, "options.ttl"),
    ({"ttl": True}, "options.ttl"),
    ({"ttl": {"a": 1}}, "options.ttl"),
    ({"delay": "9999-01-01T00:00:00Z"}, "options.delay"),
    ({"delay": "whenever"}, "options.delay"),
    ({"delay": 5}, "options.delay"),
    ({"priority": 2**63}, "options.priority"),
    ({"priority": -(2**63)}, "options.priority"),
    ({"priority": float("inf")}, "options.priority"),
    ({"queue": {"name": "a:b"}}, "options.queue.name"),
    ({"queue": {"name": "*"}}, "options.queue.name"),
    ({"queue": {"name": "{x}"}}, "options.queue.name"),
    ({"queue": {"name": ""}}, "options.queue.name"),
    ({"queue": {"name": "x" * 129}}, "options.queue.name"),
    ({"queue": "mail"}, "options.queue"),
    ({"machine": "gigantic"}, "options.machine"),
    ({"maxAttempts": 0}, "options.maxAttempts"),
    ({"maxAttempts": 251}, "options.maxAttempts"),
    ({"maxAttempts": "3"}, "options.maxAttempts"),
    ({"maxDuration": -1}, "options.maxDuration"),
    ({"concurrencyKey": "x" * 513}, "options.concurrencyKey"),
    ({"concurrencyKey": 10**400}, "options.concurrencyKey"),
    ({"tags": "x" * 129}, "options.tags"),
    ({"tags": ["a", 1]}, "options.tags.1"),
    ({"tags": ["\x00"]}, "options.tags.0"),
    ({"lockToVersion": "latest"}, "options.lockToVersion"),
    ({"parentRunId": "run_1"}, "options.parentRunId"),
    ({"metadata": [1]}, "options.metadata"),
    ({"metadata": "[1]"}, "options.metadata"),
    ({"status": "COMPLETED"}, "options.status"),
    ({"attempt": 9}, "options.attempt"),
]


@pytest.mark.parametrize(("options", "field"), BAD_OPTIONS)
def test_options_that_cannot_be_used(options: dict[str, Any], field: str) -> None:
    assert refused({"options": options}) == ("BODY_INVALID", field)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"tags": [str(n) for n in range(11)]}, "TOO_MANY_TAGS"),
        ({"metadata": {"m": "x" * 262_144}}, "METADATA_TOO_LARGE"),
        ({"parentBatch": "batch_1"}, "OPTION_UNSUPPORTED"),
        ({"resumeParentOnCompletion": True}, "OPTION_UNSUPPORTED"),
    ],
)
def test_what_the_rules_refuse(options: dict[str, Any], code: str) -> None:
    assert refused({"options": options})[0] == code


@pytest.mark.parametrize("field", ["status", "organizationId", "attempt", "isAdmin", "createdAt", "id"])
def test_fields_that_are_not_a_callers_to_set(field: str) -> None:
    assert refused({field: 1}) == ("BODY_INVALID", field)


@pytest.mark.parametrize(
    "headers",
    [{"idempotency_key_ttl": "soon"}, {"idempotency_key": "x" * 2049}, {"x_trigger_request_idempotency_key": "a b"}],
)
def test_headers_that_cannot_be_used(headers: dict[str, str]) -> None:
    assert refused({}, **headers)[0] == "HEADERS_INVALID"


@pytest.mark.parametrize("task", ["", "x" * 257, "a\x00b", "a\nb", "\ud800"])
def test_task_ids_that_cannot_be(task: str) -> None:
    with pytest.raises(Problem) as caught:
        asked({}, task=task)
    assert caught.value.code == "PARAMS_INVALID"


def test_a_number_that_floats_do_not_hold_is_refused() -> None:
    assert refused({"payload": json.loads("1e999")}) == ("BODY_INVALID", "payload")


names = st.sampled_from(sorted(TriggerOptions.model_fields)) | st.text()
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(names, anything, max_size=4), anything)
def test_any_options_are_taken_or_refused(options: dict[str, Any], payload: Any) -> None:
    status = 400
    try:
        asked({"payload": payload, "options": options})
    except Problem as problem:
        problem.body()
        status = problem.status
    assert 400 <= status < 500
