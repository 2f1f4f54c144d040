"""Refusals as existing clients read them: the status decides the class, `error` is the text, `x-should-retry` the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from sojourn.control_plane.api.models.triggers import MAX_TRIGGER_BYTES
from sojourn.control_plane.api.problems import CODES, Problem
from tests.contract.wire import shapes
from tests.contract.wire.world import NDJSON, World, nulls

NOBODYS = "0" * 26


@dataclass(frozen=True)
class Row:
    """A request and its refusal. `error`: what the text begins with, where the wire says so."""

    method: str
    path: str
    status: int
    code: str
    body: Any = None
    headers: Any = None
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.code} {self.method} {self.path}"


_TRIGGER, _TOKENS = "/api/v1/tasks/wire/trigger", "/api/v1/waitpoints/tokens"
ROWS = (
    Row("POST", _TRIGGER, 400, "INVALID_JSON", b"{"),
    Row("POST", _TRIGGER, 400, "BODY_INVALID", {"options": {"ttl": "later"}}),
    Row("POST", _TRIGGER, 400, "BODY_INVALID", {"nothing": 1}),
    Row("POST", _TRIGGER, 413, "BODY_TOO_LARGE", b'"' + b"x" * MAX_TRIGGER_BYTES + b'"'),
    Row("POST", _TRIGGER, 415, "CONTENT_TYPE_UNSUPPORTED", b"<a/>", {"Content-Type": "application/xml"}),
    Row("POST", _TRIGGER, 422, "TOO_MANY_TAGS", {"options": {"tags": [str(n) for n in range(11)]}}),
    Row("POST", _TRIGGER, 422, "VERSION_NOT_FOUND", {"options": {"lockToVersion": "20010101.1"}}),
    Row("POST", _TRIGGER, 413, "METADATA_TOO_LARGE", {"options": {"metadata": {"a": "x" * 300_000}}}),
    Row("GET", "/api/v1/runs?filter[status]=LATER", 400, "QUERY_INVALID"),
    Row("GET", "/api/v1/runs?filter[machine]=tiny", 400, "QUERY_INVALID"),
    Row("GET", "/api/v1/runs?page[size]=101", 400, "QUERY_INVALID", error="Query Error"),
    Row("GET", "/api/v1/runs?page[after]=x", 400, "CURSOR_INVALID"),
    Row("GET", f"/api/v3/runs/run_{NOBODYS}", 404, "RUN_NOT_FOUND"),
    Row("POST", f"/api/v2/runs/run_{NOBODYS}/cancel", 404, "RUN_NOT_FOUND"),
    Row("POST", f"/api/v1/runs/run_{NOBODYS}/replay", 404, "RUN_NOT_FOUND"),
    Row("GET", "/api/v1/runs/{queued}/result", 404, "RUN_NOT_FINISHED"),
    Row("POST", "/api/v1/runs/{queued}/reschedule", 400, "RUN_NOT_DELAYED", {"delay": "1h"}),
    Row("POST", "/api/v1/runs/{delayed}/reschedule", 400, "BODY_INVALID", {"delay": "soon"}),
    Row("POST", "/api/v1/runs/{queued}/tags", 422, "TOO_MANY_TAGS", {"tags": [str(n) for n in range(11)]}),
    Row("PUT", "/api/v1/runs/{queued}/metadata", 413, "METADATA_TOO_LARGE", {"metadata": {"a": "x" * 300_000}}),
    Row("POST", "/api/v1/idempotencyKeys/none/reset", 404, "IDEMPOTENCY_KEY_NOT_FOUND", {"taskIdentifier": "wire"}),
    Row("POST", "/api/v3/batches", 400, "BODY_INVALID", {"runCount": 0}),
    Row("POST", "/api/v3/batches", 400, "BODY_INVALID", {"runCount": 1001}),
    Row("POST", "/api/v3/batches/{pending}/items", 415, "CONTENT_TYPE_UNSUPPORTED", b"{}", {"Content-Type": "text/html"}),
    Row("POST", "/api/v3/batches/{pending}/items", 400, "INVALID_JSON", b"{", NDJSON),
    Row("GET", "/api/v3/batches/{pending}/items", 405, "METHOD_NOT_ALLOWED"),
    Row("POST", "/api/v2/tasks/batch", 400, "BODY_INVALID", {"items": []}),
    Row("GET", f"/api/v2/batches/batch_{NOBODYS}", 404, "BATCH_NOT_FOUND"),
    Row("GET", f"/api/v1/schedules/sched_{NOBODYS}", 404, "SCHEDULE_NOT_FOUND"),
    Row(
        "POST", "/api/v1/schedules", 422, "SCHEDULE_INVALID",
        {"task": "wire", "cron": "61 * * * *", "deduplicationKey": "d"},
    ),
    Row("GET", "/api/v1/queues/none", 404, "QUEUE_NOT_FOUND"),
    Row("POST", "/api/v1/queues/{queue}/concurrency/reset", 400, "QUEUE_NOT_OVERRIDDEN", {"type": "id"}),
    Row("GET", f"{_TOKENS}/waitpoint_{NOBODYS}", 404, "WAITPOINT_NOT_FOUND"),
    Row("POST", f"{_TOKENS}/waitpoint_{NOBODYS}/complete", 404, "WAITPOINT_NOT_FOUND", {"data": 1}),
    Row("POST", f"{_TOKENS}/{{called}}/callback/{'0' * 64}", 401, "CALLBACK_REFUSED", {}),
    Row("GET", f"{_TOKENS}/{{called}}/callback/{'0' * 64}", 405, "METHOD_NOT_ALLOWED"),
    Row("GET", "/api/v1/nothing", 404, "NOT_FOUND"),
    Row("DELETE", "/api/v1/runs", 405, "METHOD_NOT_ALLOWED"),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_refusal_is_as_clients_read_it(row: Row, world: World) -> None:
    answer = world.call(row.method, row.path, row.body, row.headers)
    body = answer.json
    assert (answer.status_code, body["code"]) == (row.status, row.code), answer.text
    shapes.Refusal.model_validate(body)
    assert answer.headers["content-type"] == "application/json"
    assert nulls(body) == set()
    if row.error is not None:
        assert body["error"].startswith(row.error) and body["details"]
    if row.status in (404, 409):
        assert answer.headers["x-should-retry"] == "false", "there is no replica that lags behind"
    if row.status == 405:
        assert answer.headers["allow"]


def test_without_a_key_a_client_learns_that_it_needs_one(world: World, anonymous: Any) -> None:
    for path in ("/api/v1/runs", "/api/v3/runs/run_x", "/api/v1/queues"):
        answer = anonymous.simulate_get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        shapes.Refusal.model_validate(answer.json)


@pytest.mark.parametrize("code", CODES)
def test_every_code_says_whether_to_try_again(code: str) -> None:
    """Clients repeat 408, 409, 429 and 5xx by themselves: where that is of no use, the answer says so."""
    problem = Problem(code)
    headers = problem.all_headers()
    if problem.status == 409:
        assert headers["x-should-retry"] == "false"
    if problem.status == 503 or (problem.status == 429 and "RATE_LIMITED" not in code):  # those' is the bucket's
        assert headers["Retry-After"]
