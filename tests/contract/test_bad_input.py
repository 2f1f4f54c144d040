"""Hostile input through the real application: refused clearly, and nothing of it is stored."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.shape import Nothing
from sojourn.control_plane.api.models.triggers import MAX_TRIGGER_BYTES
from sojourn.control_plane.api.routes import ROUTES, Route
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES
from tests.contract.api.conftest import Tenant, anonymous, app, platform, sibling, stranger, tenant

__all__ = ["anonymous", "app", "platform", "sibling", "stranger", "tenant"]

TRIGGER = "/api/v1/tasks/hostile/trigger"


@pytest.fixture(autouse=True)
def nothing_is_stored(platform: Platform, request: pytest.FixtureRequest) -> Any:
    """Every test here leaves the tables as they were."""
    counts = "SELECT (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM versions) AS versions"
    before = platform.database.rows(counts)
    yield
    assert platform.database.rows(counts) == before


def refusal(answer: testing.Result) -> dict[str, Any]:
    """A refusal's body, which has its form and gives nothing away."""
    body = answer.json
    assert {"error", "code"} <= set(body) <= {"error", "code", "field", "nextStep", "details"}
    assert all(word not in answer.text for word in ("Traceback", "psycopg2", "pydantic", "SELECT", "site-packages"))
    return dict(body)


BODIES = {
    "deep": (b'{"payload":' + b"[" * 2_000 + b"]" * 2_000 + b"}", 400),
    "deeper": (b"[" * 1_000_000, 400),
    "duplicate keys": (b'{"payload": 1, "payload": 2}', 400),
    "NaN": (b'{"payload": NaN}', 400),
    "Infinity": (b'{"payload": -Infinity}', 400),
    "an integer of 5000 digits": (b'{"payload": ' + b"9" * 5_000 + b"}", 400),
    "a number beyond floats": (b'{"payload": 1e999}', 400),
    "UTF-16": ('{"payload": 1}'.encode("utf-16"), 400),
    "BOM": (b'\xef\xbb\xbf{"payload": 1}', 400),
    "no UTF-8": (b'{"payload": "\xff\xfe"}', 400),
    "raw NUL": (b'{"payload": "\x00"}', 400),
    "empty": (b"", 400),
    "a list": (b"[]", 400),
    "a text": (b'"x"', 400),
    "cut": (b'{"payload": ', 400),
    "NUL in an identifier": (b'{"options": {"idempotencyKey": "a\\u0000b"}}', 400),
    "half a surrogate pair in an identifier": (b'{"options": {"tags": ["\\ud800"]}}', 400),
    "a payload that is too large": (b'{"payload": "' + b"x" * (MAX_PAYLOAD_BYTES - 1) + b'"}', 413),
    "a body that is too large": (b'{"payload": "' + b"x" * MAX_TRIGGER_BYTES + b'"}', 413),
    "ten thousand tags": (json.dumps({"options": {"tags": [str(n) for n in range(10_000)]}}).encode(), 422),
    "a huge tag": (json.dumps({"options": {"tags": "x" * 100_000}}).encode(), 400),
}


#: What is wrong with these is said by the schema of triggers, and their limit.
_OF_TRIGGERS = {
    "NUL in an identifier", "half a surrogate pair in an identifier", "a payload that is too large",
    "ten thousand tags", "a huge tag", "a body that is too large",
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_bodies(tenant: Tenant, name: str) -> None:
    body, status = BODIES[name]
    answer = tenant.client.simulate_post(TRIGGER, body=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    refusal(answer)


ROUTES_WITH_BODIES = [
    route for route in ROUTES if route.body and route.caller in (Caller.ENVIRONMENT, Caller.PROJECT, Caller.ANYONE)
]
#: Names in paths that lead as far as the body.
_NAMED = {"ref": "current", "env": "current", "task": "hostile"}
with_body = pytest.mark.parametrize("route", ROUTES_WITH_BODIES, ids=lambda route: route.action)


def sent_to(tenant: Tenant, route: Route, body: bytes, **headers: str) -> testing.Result:
    path = re.sub(r"{(\w+)}", lambda name: _NAMED.get(name[1], "x"), route.path)
    told = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return tenant.client.simulate_request(route.method, path, body=body, headers=told)


@with_body
def test_b01_one_reader_reads_every_body(tenant: Tenant, route: Route) -> None:
    """What no body is anywhere is none here, whatever else is asked for and whether the thing is there or not."""
    for name, (body, status) in BODIES.items():
        if name in _OF_TRIGGERS or (name == "empty" and route.body and issubclass(route.body, Nothing)):
            continue
        answer = sent_to(tenant, route, body)
        assert answer.status_code in (status, 413), (name, answer.text)
        refusal(answer)
    for headers in ({"Content_Type": "application/xml"}, {"Content_Encoding": "gzip"}, {"Content_Encoding": "br"}):
        answer = sent_to(tenant, route, b"{}", **headers)
        assert answer.status_code == 415, (headers, answer.text)
    large = sent_to(tenant, route, b'{"x": "' + b"x" * route.limit + b'"}')
    assert (large.status_code, refusal(large)["code"]) == (413, "BODY_TOO_LARGE")


@with_body
def test_b04_no_body_takes_what_is_the_platforms(tenant: Tenant, route: Route) -> None:
    for field in ("status", "organizationId", "environment_id", "is_admin", "createdAt", "snapshot", "epoch", "__proto__"):
        assert route.body is not None and field not in route.body.model_fields
        answer = sent_to(tenant, route, json.dumps({field: 1}).encode())
        assert answer.status_code == 400, answer.text
        assert any(issue["field"] == field for issue in answer.json["details"]), (field, answer.text)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/xml"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json; charset=utf-16"}, 415),
        ({"Content-Type": "application/json", "Content-Length": "1000"}, 400),
        ({"Content-Type": "application/json", "Content-Length": "99999999999"}, 413),
    ],
)
def test_headers_of_bodies(tenant: Tenant, headers: dict[str, str], status: int) -> None:
    answer = tenant.client.simulate_post(TRIGGER, body=b'{"payload": 1}', headers=headers)
    assert answer.status_code == status
    refusal(answer)


@pytest.mark.parametrize(
    "field",
    [
        "status",
        "organization_id",
        "organizationId",
        "attempt",
        "epoch",
        "is_admin",
        "created_at",
        "snapshot",
        "__proto__",
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_fields_that_are_the_platforms(tenant: Tenant, field: str, inside: bool) -> None:
    body = {"options": {field: 1}} if inside else {field: 1}
    answer = tenant.client.simulate_post(TRIGGER, json=body)
    assert answer.status_code == 400
    assert refusal(answer)["field"] == (f"options.{field}" if inside else field)


@pytest.mark.parametrize("path", ["/api/v2/runs/{}/cancel", "/api/v1/runs/{}/replay"])
def test_calls_without_input_take_none(tenant: Tenant, path: str) -> None:
    run = "run_" + "0" * 26
    answer = tenant.client.simulate_post(path.format(run), json={"status": "COMPLETED"})
    assert (answer.status_code, refusal(answer)["field"]) == (400, "status")


def test_a_refusal_does_not_repeat_what_was_sent(tenant: Tenant) -> None:
    answer = tenant.client.simulate_post(TRIGGER, json={"options": {"machine": "hunter2-secret"}})
    assert answer.status_code == 400 and "hunter2" not in answer.text


def keys(tenant: Tenant) -> dict[str, str | None]:
    key = tenant.key
    return {
        "none": None,
        "another scheme": f"Basic {key}",
        "no scheme": key,
        "empty": "Bearer ",
        "wrong prefix": "Bearer sk_dev_" + key[7:],
        "one character": "Bearer " + key[:8],
        "cut": f"Bearer {key[:-1]}",
        "longer": f"Bearer {key}x",
        "another case": f"Bearer {key.swapcase()}",
        "of another environment's shape": "Bearer tr_prod_" + key[7:],
        "NUL": f"Bearer {key}\x00",
        "twice": f"Bearer {key}, Bearer {key}",
        "not ASCII": f"Bearer {key}é",
        "SQL": "Bearer tr_dev_' OR '1'='1",
        "a megabyte": "Bearer tr_dev_" + "x" * 1_000_000,
        "a personal token's shape": "Bearer tr_pat_" + "x" * 40,
    }


@pytest.mark.parametrize(("method", "path"), [("POST", TRIGGER), ("GET", "/api/v1/runs"), ("POST", "/api/v1/deployments")])
def test_bad_keys_all_get_the_same_answer(tenant: Tenant, anonymous: testing.TestClient, method: str, path: str) -> None:
    answers = {}
    for name, value in keys(tenant).items():
        headers = {"Content-Type": "application/json"} | ({"Authorization": value} if value is not None else {})
        answers[name] = anonymous.simulate_request(method, path, headers=headers, body=b'{"payload": 1}')
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert len({answer.content for answer in answers.values()}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers.values()}) == 1


def test_a_revoked_or_expired_key_is_refused(tenant: Tenant, stranger: Tenant, platform: Platform) -> None:
    from datetime import timedelta

    later = platform.clock() + timedelta(days=1)
    column = "UPDATE api_keys SET {} = %s WHERE environment_id = %s"
    for name, moment in (("expires_at", platform.clock()), ("revoked_at", platform.clock())):
        platform.database.rows(column.format(name), moment, stranger.environment)
        assert platform.access.keys.opened_by(stranger.key, later) is None
        platform.database.rows(column.format(name), None, stranger.environment)
    assert platform.access.keys.opened_by(stranger.key, later)


def test_a_key_in_the_address_opens_nothing(tenant: Tenant, anonymous: testing.TestClient) -> None:
    for name in ("key", "token", "access_token", "Authorization", "apiKey"):
        answer = anonymous.simulate_get("/api/v1/runs", params={name: tenant.key})
        assert answer.status_code == 401


def test_an_environments_key_opens_no_worker_route(tenant: Tenant) -> None:
    for path in ("next", "start", "heartbeat", "logs"):
        answer = tenant.client.simulate_post(f"/worker/v1/{path}", json={})
        assert (answer.status_code, answer.json["code"]) == (401, "CREDENTIAL_REFUSED")


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1/nope", "/api/v1/runs/", "//", "/api/v1/tasks//trigger", "/static/../wsgi.py"]
)
def test_other_addresses(tenant: Tenant, path: str) -> None:
    answer = tenant.client.simulate_get(path)
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "HEAD"])
def test_other_methods(tenant: Tenant, method: str) -> None:
    answer = tenant.client.simulate_request(method, "/api/v1/runs")
    assert answer.status_code == 405 and "GET" in answer.headers["allow"]
