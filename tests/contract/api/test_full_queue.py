"""What a full queue refuses, and what it does not: whoever's key leads to a run that is there is answered with it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_idempotency_reset import reset

PATH = "/api/v1/tasks/hello/trigger"
#: More than a run's row has: such a payload lies beside it.
LARGE = "x" * (MAX_PAYLOAD_BYTES - 10)


@pytest.fixture
def full(platform: Platform, tenant: Tenant) -> Iterator[Any]:
    """Fills the queue when it is called."""
    tenant.deploy(["hello"])
    tenant.trigger()

    def fill() -> None:
        platform.triggering.room.limit = 1
        platform.triggering.room._seen.clear()

    yield fill
    platform.triggering.room.limit = 0


def asked(tenant: Tenant, payload: Any = None, request: str = "", **options: Any) -> testing.Result:
    headers = {"x-trigger-request-idempotency-key": request} if request else {}
    return tenant.client.simulate_post(PATH, json={"payload": payload, "options": options}, headers=headers)


def count(platform: Platform) -> int:
    return int(platform.database.rows("SELECT count(*) AS n FROM runs")[0]["n"])


@pytest.mark.parametrize("payload", [None, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("mode", ["leading", "trailing"])
def test_what_has_a_run_is_answered_with_it(
    platform: Platform, tenant: Tenant, full: Any, mode: str, payload: str | None
) -> None:
    key, debounce = secrets.token_hex(8), {"key": secrets.token_hex(8), "delay": "60s", "mode": mode}
    sent: list[dict[str, Any]] = [{"idempotencyKey": key}, {"request": key}, {"debounce": debounce}]
    made = [asked(tenant, payload, **each).json["id"] for each in sent]
    full()
    before = count(platform)
    for each, run in zip(sent, made, strict=True):
        answer = asked(tenant, payload, **each)
        assert (answer.status_code, answer.json["id"]) == (200, run), answer.text
    assert count(platform) == before


@pytest.mark.parametrize("payload", [None, LARGE], ids=["small", "large"])
def test_what_has_none_is_refused_and_leaves_nothing(
    platform: Platform, tenant: Tenant, full: Any, payload: str | None
) -> None:
    full()
    before = count(platform)
    key = secrets.token_hex(8)
    debounce = {"key": key, "delay": "60s", "mode": "trailing"}
    for each in ({}, {"idempotencyKey": key}, {"request": key}, {"debounce": debounce}):
        answer = asked(tenant, payload, queue={"name": key}, **each)
        assert (answer.status_code, answer.json["code"]) == (422, "QUEUE_FULL")
    assert count(platform) == before
    assert not platform.database.rows("SELECT FROM queues WHERE name = %s", key)
    # And nothing of it is held against what comes when there is room.
    platform.triggering.room.limit = 0
    made = [asked(tenant, payload, **each).json for each in ({"idempotencyKey": key}, {"debounce": debounce})]
    assert [each["isCached"] for each in made] == [False, False]


def test_a_replay_that_was_made_is_answered_with_its_run(tenant: Tenant, full: Any) -> None:
    path = f"/api/v1/runs/{tenant.trigger()}/replay"
    key = {"x-trigger-request-idempotency-key": secrets.token_hex(8)}
    made = tenant.client.simulate_post(path, json={}, headers=key).json["id"]
    full()
    assert tenant.client.simulate_post(path, json={}, headers=key).json == {"id": made}
    assert tenant.client.simulate_post(path, json={}).json["code"] == "QUEUE_FULL"


@pytest.mark.parametrize("options", [{}, {"debounce": {"key": "races", "delay": "60s"}}], ids=["plain", "debounced"])
def test_a_key_that_others_free_and_take_meanwhile(
    platform: Platform, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Three times somebody frees the key before it is looked up, and takes it again before the run is stored."""
    key, look = secrets.token_hex(8), platform.runs.by_idempotency_key
    asked(tenant, idempotencyKey=key)
    others = iter(range(3))

    def looks(*named: str) -> Any:
        if next(others, None) is None:
            return look(*named)
        assert reset(tenant, key).status_code == 200
        found = look(*named)
        with monkeypatch.context() as patched:
            patched.setattr(platform.runs, "by_idempotency_key", look)
            asked(tenant, idempotencyKey=key)
        return found

    monkeypatch.setattr(platform.runs, "by_idempotency_key", looks)
    answer = asked(tenant, idempotencyKey=key, **options)
    assert answer.status_code == 200, answer.text
    assert answer.json["id"] == asked(tenant, idempotencyKey=key).json["id"]


def sent_items(tenant: Tenant, batch: str, items: range) -> testing.Result:
    body = "\n".join(json.dumps({"index": index, "task": "hello"}) for index in items)
    path = f"/api/v3/batches/{batch}/items"
    return tenant.client.simulate_post(path, body=body, content_type="application/x-ndjson")


def test_a_batch_that_was_admitted_is_stored_to_its_end(platform: Platform, tenant: Tenant, full: Any) -> None:
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 3}).json["id"]
    assert sent_items(tenant, batch, range(1)).status_code == 200
    full()
    answer = sent_items(tenant, batch, range(1, 3))
    assert (answer.status_code, answer.json["itemsAccepted"]) == (200, 2), answer.text
    assert tenant.client.simulate_post("/api/v3/batches", json={"runCount": 1}).json["code"] == "QUEUE_FULL"


def test_batches_are_not_admitted_into_the_same_room(platform: Platform, tenant: Tenant, full: Any) -> None:
    def made() -> testing.Result:
        platform.triggering.room._seen.clear()
        return tenant.client.simulate_post("/api/v3/batches", json={"runCount": 8})

    platform.batches.sweep(platform.clock() + timedelta(days=1), 1_000)
    full()
    platform.triggering.room.limit = platform.queue.size(tenant.organization) + 10
    first, second = made(), made()
    assert (first.status_code, second.status_code, second.json["code"]) == (202, 422, "QUEUE_FULL")
    # Also when some of the first are there; and what is given up is promised no more.
    assert sent_items(tenant, first.json["id"], range(5)).status_code == 200
    assert made().json["code"] == "QUEUE_FULL"
    platform.triggering.room.limit += 5
    assert made().json["code"] == "QUEUE_FULL"
    platform.batches.sweep(platform.clock() + timedelta(days=1), 1_000)
    assert made().status_code == 202
