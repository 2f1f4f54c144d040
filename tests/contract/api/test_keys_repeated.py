"""Requests that make a secret key, sent again: their answer was lost, and with it the only sight of the key."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane import wsgi
from sojourn.control_plane.engine.keys import REQUEST_LIFE
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_pruning import pruned

KEYS = "/api/v1/keys"


def client(app: wsgi.App, key: str) -> testing.TestClient:
    return testing.TestClient(app, headers={"Authorization": f"Bearer {key}"})


def under(key: str) -> dict[str, Any]:
    return {"headers": {"x-trigger-request-idempotency-key": key}}


@pytest.fixture
def request_key() -> str:
    return secrets.token_hex(16)


def make(tenant: Tenant, **body: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_post(KEYS, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def test_a_new_key_is_the_same_key(tenant: Tenant, request_key: str) -> None:
    first, second = (tenant.client.simulate_post(KEYS, json={"name": "a"}, **under(request_key)) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json == second.json
    other = tenant.client.simulate_post(KEYS, json={"name": "a"}, **under(request_key + "x"))
    assert other.json["id"] != first.json["id"]


@pytest.mark.parametrize("by", ["another", "itself"])
def test_a_rotation_makes_one_key(app: wsgi.App, tenant: Tenant, request_key: str, by: str) -> None:
    """Also where a key replaced itself: it opens for a day more, and makes no other key."""
    old = make(tenant, name="old")
    caller = tenant.client if by == "another" else client(app, old["key"])
    first, second = (caller.simulate_post(f"{KEYS}/{old['id']}/rotate", json={}, **under(request_key)) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200), second.text
    assert first.json["key"] == second.json["key"] and first.json["id"] == second.json["id"]
    assert client(app, second.json["key"]).simulate_get("/api/v1/runs").status_code == 200
    refused = caller.simulate_post(f"{KEYS}/{old['id']}/rotate", json={}, **under(request_key + "x"))
    assert refused.status_code == (409 if by == "another" else 403)


@pytest.mark.parametrize("path", ["", "/{id}/rotate"])
def test_at_once(tenant: Tenant, request_key: str, path: str) -> None:
    address = KEYS + path.format(id=make(tenant)["id"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: tenant.client.simulate_post(address, json={}, **under(request_key)), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json["key"] for answer in answers}) == 1


def test_the_secret_is_kept_sealed_and_for_a_day(platform: Platform, tenant: Tenant, request_key: str) -> None:
    made = tenant.client.simulate_post(KEYS, json={}, **under(request_key)).json
    (row,) = platform.database.rows("SELECT * FROM api_keys WHERE id = %s", made["id"])
    assert row["request_sealed"] and made["key"] not in str(row)
    (plain,) = platform.database.rows("SELECT * FROM api_keys WHERE id = %s", make(tenant)["id"])
    assert plain["request_sealed"] is None
    platform.database.rows("UPDATE api_keys SET created_at = created_at - %s WHERE id = %s", REQUEST_LIFE, made["id"])
    again = tenant.client.simulate_post(KEYS, json={}, **under(request_key)).json
    assert again["id"] != made["id"]
    (row,) = platform.database.rows("SELECT * FROM api_keys WHERE id = %s", made["id"])
    assert row["request_key"] is None and row["request_sealed"] is None


def test_the_pruner_drops_what_is_kept_for_repetitions(platform: Platform, tenant: Tenant, request_key: str) -> None:
    made = tenant.client.simulate_post(KEYS, json={}, **under(request_key)).json
    platform.access.keys.forget_requests(platform.clock() - REQUEST_LIFE)
    kept = "SELECT request_sealed IS NOT NULL AS kept FROM api_keys WHERE id = %s"
    assert platform.database.rows(kept, made["id"])[0]["kept"]
    pruned(platform, platform.clock() + REQUEST_LIFE)
    assert not platform.database.rows(kept, made["id"])[0]["kept"]


def test_nobody_is_shown_more_than_they_may_hand_on(app: wsgi.App, tenant: Tenant, request_key: str) -> None:
    manager = make(tenant, scopes=["write:apiKeys", "read:runs"])["key"]
    body = {"scopes": ["read:runs"]}
    assert tenant.client.simulate_post(KEYS, json={}, **under(request_key)).status_code == 200
    assert client(app, manager).simulate_post(KEYS, json=body, **under(request_key)).status_code == 403


def test_a_revoked_key_is_not_shown(tenant: Tenant, request_key: str) -> None:
    made = tenant.client.simulate_post(KEYS, json={}, **under(request_key)).json
    assert tenant.client.simulate_post(f"{KEYS}/{made['id']}/revoke").status_code == 200
    answer = tenant.client.simulate_post(KEYS, json={}, **under(request_key))
    assert (answer.status_code, answer.json["code"]) == (409, "API_KEY_OVER")


def test_environments_are_apart(tenant: Tenant, sibling: Tenant, request_key: str) -> None:
    made = {each.client.simulate_post(KEYS, json={}, **under(request_key)).json["id"] for each in (tenant, sibling)}
    assert len(made) == 2
