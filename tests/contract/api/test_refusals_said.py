"""What a refusal says of a body: the field, what it should be, and what to do, in the order that helps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.api.conftest import Tenant

METADATA = "/api/v1/runs/run_{}/metadata".format("0" * 26)
TRIGGER = "/api/v1/tasks/said/trigger"


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "said"),
    [
        ("POST", TRIGGER, {"options": {"ttl": -1}}, "options.ttl", "greater than or equal to 0"),
        ("POST", TRIGGER, {"options": {"ttl": 2**31}}, "options.ttl", "less than or equal to 2147483647"),
        ("POST", TRIGGER, {"options": {"ttl": []}}, "options.ttl", "a valid string or a valid integer"),
        ("POST", TRIGGER, {"options": {"tags": ["a", 5]}}, "options.tags.1", "a valid string"),
        ("POST", TRIGGER, {"options": {"tags": 5}}, "options.tags", "a valid string or a valid list"),
        ("POST", TRIGGER, {"options": {"concurrencyKey": "x" * 600}}, "options.concurrencyKey", "at most 512 characters"),
        ("POST", TRIGGER, {"options": {"delay": "later"}}, "options.delay", "write a duration"),
        (
            "PUT", METADATA, {"operations": [{"type": "increment", "key": "a", "value": "x"}]},
            "operations.0.value", "a valid integer or a valid number",
        ),
        (
            "PUT", METADATA, {"operations": [{"type": "increment", "key": "a", "value": 1e301}]},
            "operations.0.value", "less than or equal to 1e+300",
        ),
        ("POST", "/api/v1/bulk-actions", {"action": "cancel"}, None, "Body Error: needs either filter or runIds"),
    ],
)  # fmt: skip
def test_what_it_says(tenant: Tenant, method: str, path: str, body: Any, field: str | None, said: str) -> None:
    answer = tenant.client.simulate_request(method, path, json=body)
    told = answer.json
    assert (answer.status_code, told["code"], told.get("field")) == (400, "BODY_INVALID", field), told
    assert said in told["error"] and "Value error" not in answer.text
    assert ("field" in told) == ("`field`" in told["nextStep"])
    assert "`details`" not in told["nextStep"]


def test_a_line_that_is_no_object(tenant: Tenant) -> None:
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 1}).json["id"]
    headers = {"Content-Type": "application/x-ndjson"}
    answer = tenant.client.simulate_post(f"/api/v3/batches/{batch}/items", body=b"[]", headers=headers)
    assert answer.json["error"] == "Line 1: Input should be an object"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_scheme_is_written_as_one_likes(tenant: Tenant, scheme: str) -> None:
    answer = tenant.client.simulate_get("/api/v1/runs", headers={"Authorization": f"{scheme} {tenant.key}"})
    assert answer.status_code == 200
