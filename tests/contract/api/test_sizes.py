"""Limits of bytes: those of the value in UTF-8, by whatever way it comes and however its letters are escaped."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from falcon import testing

from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import MAX_METADATA_BYTES, MAX_OUTPUT_BYTES, MAX_PAYLOAD_BYTES
from tests.contract.api.conftest import Tenant, drained, executor
from tests.contract.api.test_metadata_of_runs import change, tell
from tests.contract.api.worker_calls import ask, completed

#: Letters of one, two, three and four bytes.
LETTERS = ["x", "é", "€", "🙂"]
TRIGGER = "/api/v1/tasks/sized/trigger"
Send = Callable[[Tenant, testing.TestClient, str, bool], testing.Result]


def text_of(letter: str, size: int) -> str:
    """A text that has `size` bytes as JSON in UTF-8."""
    letters, rest = divmod(size - 2, len(letter.encode()))
    return letter * letters + "x" * rest


def body_of(value: Any, escaped: bool) -> bytes:
    return json.dumps(value, ensure_ascii=escaped).encode()


def trigger(tenant: Tenant, anonymous: testing.TestClient, text: str, escaped: bool) -> testing.Result:
    return tenant.client.simulate_post(TRIGGER, body=body_of({"payload": text}, escaped))


def trigger_text(tenant: Tenant, anonymous: testing.TestClient, text: str, escaped: bool) -> testing.Result:
    """A text has no quotation marks to count."""
    value = {"payload": f"{text}xx", "options": {"payloadType": "text/plain"}}
    return tenant.client.simulate_post(TRIGGER, body=body_of(value, escaped))


def complete(tenant: Tenant, anonymous: testing.TestClient, text: str, escaped: bool) -> testing.Result:
    token = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={}).json["id"]
    path = f"/api/v1/waitpoints/tokens/{token}/complete"
    return tenant.client.simulate_post(path, body=body_of({"data": text}, escaped))


def call_back(tenant: Tenant, anonymous: testing.TestClient, text: str, escaped: bool) -> testing.Result:
    url = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={}).json["url"]
    return anonymous.simulate_post(urlsplit(url).path, body=body_of(text, escaped))


def upload(tenant: Tenant, anonymous: testing.TestClient, text: str, escaped: bool) -> testing.Result:
    given = tenant.client.simulate_put("/api/v2/packets/sized.json").json
    address = urlsplit(given["presignedUrl"])
    assert anonymous.simulate_put(address.path, body=body_of(text, escaped)).status_code == 200
    body = {"payload": given["storagePath"], "options": {"payloadType": "application/store"}}
    return tenant.client.simulate_post(TRIGGER, json=body)


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("send", [trigger, trigger_text, complete, call_back, upload])
def test_a_payload(tenant: Tenant, anonymous: testing.TestClient, send: Send, letter: str, escaped: bool) -> None:
    assert send(tenant, anonymous, text_of(letter, MAX_PAYLOAD_BYTES), escaped).status_code == 200
    refused = send(tenant, anonymous, text_of(letter, MAX_PAYLOAD_BYTES + 1), escaped)
    assert (refused.status_code, refused.json["code"]) == (413, "BODY_TOO_LARGE")
    assert f"more than {MAX_PAYLOAD_BYTES} bytes" in refused.json["error"] and refused.json["field"]


def test_the_body_has_a_limit_of_its_own_and_the_error_says_so(tenant: Tenant) -> None:
    value = {"payload": "\x01" * MAX_PAYLOAD_BYTES, "options": {"payloadType": "text/plain"}}
    refused = tenant.client.simulate_post(TRIGGER, body=body_of(value, False))
    assert refused.status_code == 413 and "The body has more than" in refused.json["error"] and "field" not in refused.json


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
@pytest.mark.parametrize("letter", ["x", "é"])
def test_an_item_of_a_batch(tenant: Tenant, letter: str, kind: str) -> None:
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 2}).json["id"]
    more, options = ("xx" if kind == "text/plain" else ""), {"payloadType": kind}
    texts = [text_of(letter, MAX_PAYLOAD_BYTES) + more, text_of(letter, MAX_PAYLOAD_BYTES + 1) + more]
    lines = [
        body_of({"index": index, "task": "sized", "payload": text, "options": options}, True)
        for index, text in enumerate(texts)
    ]
    headers = {"Content-Type": "application/x-ndjson"}
    filled = tenant.client.simulate_post(f"/api/v3/batches/{batch}/items", body=b"\n".join(lines), headers=headers)
    assert filled.status_code == 200, filled.text
    errors = tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["processing"]["errors"]
    assert [(error["index"], error["errorCode"]) for error in errors] == [(1, "PAYLOAD_TOO_LARGE")]


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("letter", LETTERS)
def test_metadata(tenant: Tenant, letter: str, escaped: bool) -> None:
    fits, more = ({"a": text_of(letter, MAX_METADATA_BYTES - len('{"a":}') + beyond)} for beyond in (0, 1))
    for value, status in ((fits, 200), (more, 413)):
        made = tenant.client.simulate_post(TRIGGER, body=body_of({"options": {"metadata": value}}, escaped))
        assert made.status_code == status, made.text
        as_text = tenant.client.simulate_post(TRIGGER, json={"options": {"metadata": json.dumps(value)}})
        assert as_text.status_code == status
        path = f"/api/v1/runs/{tenant.trigger('sized')}/metadata"
        changed = tenant.client.simulate_put(path, body=body_of({"metadata": value}, escaped))
        assert changed.status_code == status
        assert status == 200 or {made.json["code"], changed.json["code"]} == {"METADATA_TOO_LARGE"}


@pytest.mark.parametrize("letter", LETTERS)
def test_what_a_run_says(platform: Platform, tenant: Tenant, letter: str) -> None:
    """Its metadata, and its output."""
    version = drained(platform, tenant, "sized")
    worker = executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")
    for beyond, status in ((0, "COMPLETED"), (1, "FAILED")):
        run = tenant.trigger("sized")
        work = ask(worker, wait=5)["work"]
        value = text_of(letter, MAX_METADATA_BYTES - len('{"a":}') + beyond)
        tell(worker, work, [change(1, kind="set", key="a", value=value)])
        held = tenant.client.simulate_get(f"/api/v1/runs/{run}/metadata").json["metadata"]
        assert held == ({} if beyond else {"a": value})
        output = json.dumps(text_of(letter, MAX_OUTPUT_BYTES + beyond))
        ask(worker, completion=completed(work, {"ok": True, "output": output}))
        assert tenant.client.simulate_get(f"/api/v3/runs/{run}").json["status"] == status
