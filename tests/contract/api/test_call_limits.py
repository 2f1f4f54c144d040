"""How many calls the API takes: counted for an environment's keys together, and for each public token by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane import wsgi
from sojourn.control_plane.queue import keys
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.errors import BatchRateLimitError, RateLimitError
from sojourn.sdk.tasks import tasks
from tests.contract.api.conftest import connected, first_tenant
from tests.support.postgres_server import Databases
from tests.support.redis_server import start_redis

RUNS = "/api/v1/runs"


@pytest.fixture
def limited(databases: Databases, redis_url: str, tmp_path: Path) -> Iterator[Platform]:
    """Six calls by keys and three by each token, and hardly any more after that."""
    with connected(databases, redis_url, tmp_path, api_rate="6:1/10000", public_token_rate="3:1/10000") as made:
        yield made


def statuses(client: testing.TestClient, count: int) -> list[int]:
    return [client.simulate_get(RUNS).status_code for _ in range(count)]


def test_calls_of_keys_are_counted_together_and_those_of_each_token_apart(limited: Platform) -> None:
    tenant = first_tenant(limited)
    key = tenant.client.simulate_post("/api/v1/keys", json={}).json["key"]
    tokens = [
        tenant.client.simulate_post("/api/v1/auth/public-tokens", json={"scopes": ["read:runs"], "expirationTime": life})
        for life in ("1h", "2h")
    ]
    other = testing.TestClient(wsgi.create_app(limited), headers={"Authorization": f"Bearer {key}"})
    assert [*statuses(other, 2), *statuses(tenant.client, 2)] == [200, 200, 200, 429]
    for made in tokens:
        holder = testing.TestClient(wsgi.create_app(limited), headers={"Authorization": f"Bearer {made.json['token']}"})
        assert statuses(holder, 4) == [200, 200, 200, 429]


def test_what_an_answer_says_of_the_limit(limited: Platform) -> None:
    tenant = first_tenant(limited)
    headers = [tenant.client.simulate_get(RUNS).headers for _ in range(7)]
    assert [each["x-ratelimit-remaining"] for each in headers] == ["5", "4", "3", "2", "1", "0", "0"]
    assert {each["x-ratelimit-limit"] for each in headers} == {"6"}
    refused = tenant.client.simulate_get(RUNS)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json["code"] == "RATE_LIMITED" and refused.json["nextStep"]
    found: dict[str, Any] = refused.json
    assert (found["title"], found["status"], found["limit"], found["remaining"]) == ("Rate Limit Exceeded", 429, 6, 0)
    assert found["error"].startswith("Rate limit exceeded") and found["detail"] and found["type"].startswith("https://")
    assert int(refused.headers["x-ratelimit-reset"]) == found["reset"]
    ahead = found["reset"] / 1000 - time.time()
    assert 9_000 < ahead <= 10_001, "in ms since the epoch"
    assert (
        int(refused.headers["retry-after"]) == found["secondsUntilReset"] and 9_000 < found["secondsUntilReset"] <= 10_000
    )


def test_what_is_not_counted(limited: Platform) -> None:
    tenant = first_tenant(limited)
    statuses(tenant.client, 7)
    assert tenant.client.simulate_post("/api/v1/auth/jwt/claims").status_code == 200
    assert tenant.client.simulate_get("/api/v1/timezones").status_code == 200
    assert tenant.client.simulate_get("/api/v1/deployments/current").status_code == 404
    assert tenant.client.simulate_post("/api/v1/waitpoints/tokens/x/callback/y", body="1").status_code == 404
    unknown = testing.TestClient(wsgi.create_app(limited), headers={"Authorization": "Bearer tr_dev_unknown"})
    assert statuses(unknown, 1) == [401], "who is nobody has no bucket"


def test_another_environment_has_its_own(limited: Platform) -> None:
    tenant = first_tenant(limited)
    assert statuses(tenant.client, 7)[-1] == 429
    installation = limited.access.installation(limited.clock())
    assert installation
    prod = testing.TestClient(wsgi.create_app(limited), headers={"Authorization": f"Bearer {installation.keys['prod']}"})
    assert statuses(prod, 1) == [200]


def test_a_limit_can_be_off(databases: Databases, redis_url: str, tmp_path: Path) -> None:
    with connected(databases, redis_url, tmp_path, api_rate="off") as made:
        answer = first_tenant(made).client.simulate_get(RUNS)
        assert answer.status_code == 200 and "x-ratelimit-limit" not in answer.headers


# --- items of batches


def test_items_of_batches_are_counted_where_a_batch_is_made(databases: Databases, redis_url: str, tmp_path: Path) -> None:
    with connected(databases, redis_url, tmp_path, batch_rate="10:1/10000") as made:
        tenant = first_tenant(made)
        key = {"runCount": 6, "idempotencyKey": "once"}
        whole = {"items": [{"task": "hello"}] * 3}

        def batch(path: str, body: Any, **headers: str) -> testing.Result:
            return tenant.client.simulate_post(path, json=body, headers=headers)

        assert batch("/api/v3/batches", key).status_code == 202
        assert batch("/api/v3/batches", key).status_code == 202, "that one is counted already"
        repeated = {"x-trigger-request-idempotency-key": "request-of-a-batch"}
        for _ in range(2):
            assert batch("/api/v2/tasks/batch", whole, **repeated).status_code == 202
        refused = batch("/api/v3/batches", {"runCount": 2})
        assert (refused.status_code, refused.json["code"]) == (429, "BATCH_RATE_LIMITED")
        assert refused.headers["content-type"] == "application/problem+json"
        assert (refused.json["limit"], refused.json["remaining"], refused.json["title"]) == (10, 1, "Rate Limit Exceeded")
        ahead = refused.json["reset"] / 1000 - time.time()
        assert 9_000 < ahead <= 10_001, "in ms since the epoch"
        assert refused.headers["x-ratelimit-reset"] == str(refused.json["reset"])
        assert int(refused.headers["retry-after"]) == refused.json["secondsUntilReset"]
        for path in ("/api/v2/tasks/batch", "/api/v1/tasks/batch"):
            assert batch(path, whole).status_code == 429
        count = "SELECT count(*) AS n FROM batches"
        assert made.database.rows(count) == [{"n": 2}], "what was refused is not there"
        assert batch("/api/v3/batches", {"runCount": 1}).status_code == 202
        assert statuses(tenant.client, 1) == [200], "calls are another bucket"
        installation = made.access.installation(made.clock())
        assert installation
        prod = {"Authorization": f"Bearer {installation.keys['prod']}"}
        assert batch("/api/v3/batches", {"runCount": 10}, **prod).status_code == 202, "so is another environment's"


def test_the_sdk_waits_for_room_and_says_what_was_too_much(databases: Databases, redis_url: str, tmp_path: Path) -> None:
    with connected(databases, redis_url, tmp_path, batch_rate="2:1/10000") as made:
        tenant = first_tenant(made)
        client, slept = tenant.sdk(), []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 2:
                made.redis.delete(keys.bucket(f"batches:{tenant.environment}"))

        client.sleep = sleep
        for _ in range(2):
            assert tasks.batch_trigger("hello", [1, 2], client=client).run_count == 2
        assert len(slept) == 2 and all(30 <= each <= 31 for each in slept), "as long as is told, but for what is too long"
        client.sleep = lambda _: None
        with pytest.raises(BatchRateLimitError, match="items of batches") as refused:
            tasks.batch_trigger("hello", [1], client=client)
        assert isinstance(refused.value, RateLimitError) and refused.value.status == 429
        told = refused.value.retry_at
        assert told and timedelta(seconds=9_000) < told - datetime.now(UTC) <= timedelta(seconds=10_001)


def test_a_batch_that_could_not_be_stored_is_not_counted(
    databases: Databases, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(databases, redis_url, tmp_path, batch_rate="10:1/10000") as made:
        client, make, away = first_tenant(made).client, made.stored_batches.make, iter(range(3))

        def lossy(*given: Any) -> bool:
            if next(away, None) is not None:
                raise StoreUnavailable("away")
            return bool(make(*given))

        monkeypatch.setattr(made.stored_batches, "make", lossy)
        headers = {"x-trigger-request-idempotency-key": "again"}
        answers = [
            client.simulate_post("/api/v3/batches", json={"runCount": count}, headers=headers).status_code
            for count in (4, 4, 4, 4, 4)
        ]
        assert answers == [503, 503, 503, 202, 202]
        assert client.simulate_post("/api/v3/batches", json={"runCount": 7}).json["remaining"] == 6
        assert client.simulate_post("/api/v3/batches", json={"runCount": 6}).status_code == 202


def test_of_batches_that_meet_with_one_key_one_is_counted(
    databases: Databases, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(databases, redis_url, tmp_path, batch_rate="20:1/10000") as made:
        client, barrier = first_tenant(made).client, threading.Barrier(4)
        store = made.stored_batches.make

        def meet(*given: Any) -> bool:
            barrier.wait(60)
            return bool(store(*given))

        def ask(_: int) -> Any:
            return client.simulate_post("/api/v3/batches", json={"runCount": 5, "idempotencyKey": "k"}).json["id"]

        with monkeypatch.context() as patched, ThreadPoolExecutor(4) as threads:
            patched.setattr(made.stored_batches, "make", meet)
            assert len(set(threads.map(ask, range(4)))) == 1
        assert client.simulate_post("/api/v3/batches", json={"runCount": 16}).json["remaining"] == 15


@pytest.mark.parametrize("rate", ["off", "3:1/10000"])
def test_a_batch_beyond_the_bucket_is_let_in_once(databases: Databases, redis_url: str, tmp_path: Path, rate: str) -> None:
    with connected(databases, redis_url, tmp_path, batch_rate=rate) as made:
        client = first_tenant(made).client
        answers = [client.simulate_post("/api/v3/batches", json={"runCount": 900}).status_code for _ in range(2)]
        assert answers == ([202, 202] if rate == "off" else [202, 429])


def test_while_redis_is_away_nobody_is_counted(databases: Databases, tmp_path: Path) -> None:
    server, path = start_redis(tmp_path)
    try:
        with connected(databases, f"unix://{path}", tmp_path, api_rate="2:1/10000") as made:
            tenant = first_tenant(made)
            assert statuses(tenant.client, 3) == [200, 200, 429]
            server.kill()
            server.wait()
            assert statuses(tenant.client, 3) == [200] * 3
            server, path = start_redis(tmp_path)
    finally:
        server.kill()
        server.wait()
