"""Waitpoint tokens through the real application: made, found, completed once, and waited for."""

from __future__ import annotations

import hmac
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from falcon import testing

from sojourn.control_plane.api.models.tokens import TokenMadeReply, TokenReply, TokensReply
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES
from tests.contract.api.conftest import Tenant, drained, executor
from tests.contract.api.test_waits import beat, begun, date, stands, wait

TOKENS = "/api/v1/waitpoints/tokens"


def create(tenant: Tenant, **body: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_post(TOKENS, json=body)
    assert answer.status_code == 200, answer.text
    TokenMadeReply.model_validate(answer.json)
    return dict(answer.json)


def retrieve(tenant: Tenant, token: dict[str, Any]) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"{TOKENS}/{token['id']}")
    assert answer.status_code == 200, answer.text
    TokenReply.model_validate(answer.json)
    return dict(answer.json)


def complete(tenant: Tenant, token: dict[str, Any], data: Any = None) -> testing.Result:
    return tenant.client.simulate_post(f"{TOKENS}/{token['id']}/complete", json={"data": data})


def call_back(client: testing.TestClient, token: dict[str, Any], body: bytes, **more: Any) -> testing.Result:
    return client.simulate_post(urlsplit(token["url"]).path, body=body, **more)


def listed(tenant: Tenant, **query: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_get(TOKENS, params=query)
    assert answer.status_code == 200, answer.text
    TokensReply.model_validate(answer.json)
    return dict(answer.json)


def prepared(platform: Platform, tenant: Tenant) -> testing.TestClient:
    """An executor; nothing else waits for one."""
    version = drained(platform, tenant, "hello")
    return executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")


# --- made and retrieved


def test_a_token_is_made_completed_and_retrieved(platform: Platform, tenant: Tenant) -> None:
    token = create(tenant, tags="order")
    assert not token["isCached"] and token["url"].startswith(f"{platform.config.api_url}{TOKENS}/{token['id']}/callback/")
    found = retrieve(tenant, token)
    assert (found["status"], found["tags"], found["url"]) == ("WAITING", ["order"], token["url"])
    assert "output" not in found and "timeoutAt" not in found
    assert complete(tenant, token, {"approved": True}).json == {"success": True}
    found = retrieve(tenant, token)
    assert (found["status"], json.loads(found["output"])) == ("COMPLETED", {"approved": True})
    assert found["outputType"] == "application/json" and "completedAt" in found and "outputIsError" not in found


def test_the_first_completion_counts(tenant: Tenant, anonymous: testing.TestClient) -> None:
    token = create(tenant)
    assert complete(tenant, token, 1).status_code == 200
    assert complete(tenant, token, 2).status_code == 200
    assert call_back(anonymous, token, b"3").status_code == 200
    assert retrieve(tenant, token)["output"] == "1"


def test_a_token_without_data(tenant: Tenant) -> None:
    token = create(tenant)
    assert tenant.client.simulate_post(f"{TOKENS}/{token['id']}/complete", json={}).status_code == 200
    found = retrieve(tenant, token)
    assert found["status"] == "COMPLETED" and "output" not in found


# --- the callback


def test_a_callback_completes_without_a_key(tenant: Tenant, anonymous: testing.TestClient) -> None:
    token = create(tenant)
    assert call_back(anonymous, token, b'{"from": "outside"}').json == {"success": True}
    assert json.loads(retrieve(tenant, token)["output"]) == {"from": "outside"}


def test_a_run_goes_on_with_what_its_token_was_completed_with(platform: Platform, tenant: Tenant) -> None:
    worker = prepared(platform, tenant)
    work, token = begun(tenant, worker), create(tenant)
    wish = {"key": "1:1", "kind": "token", "waitpoint": token["id"]}
    blocked = wait(worker, work, wish)
    assert blocked["state"] == "blocked"
    assert complete(tenant, token, {"n": 1}).status_code == 200
    platform.placing.readmit(platform.clock())
    assert stands(platform, work)[0] == "EXECUTING"
    again = wait(worker, {**work, "snapshot": stands(platform, work)[1]}, wish, waits=[], pending=["1:1"])
    assert again["done"]["1:1"] == {
        "ok": True, "kind": "token", "waitpoint": token["id"], "output": '{"n":1}', "outputType": "application/json",
    }  # fmt: skip


def test_b14_a_token_that_was_completed_before_it_is_waited_for(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient
) -> None:
    """Nobody has to be there first: whoever waits later is told at once, and only of the first completion."""
    worker = prepared(platform, tenant)
    work, token = begun(tenant, worker), create(tenant)
    assert call_back(anonymous, token, b'{"n": 1}').status_code == 200
    assert call_back(anonymous, token, b'{"n": 2}').status_code == 200
    told = wait(worker, work, {"key": "1:1", "kind": "token", "waitpoint": token["id"]})
    assert told["state"] != "blocked" and told["done"]["1:1"]["output"] == '{"n":1}'
    tenant.client.simulate_post(f"/api/v2/runs/{work['run']['id']}/cancel")


def test_a_callback_of_an_address_that_was_made_up(tenant: Tenant, sibling: Tenant, anonymous: testing.TestClient) -> None:
    token, other = create(tenant), create(tenant)
    right = token["url"].rpartition("/")[2]
    wrong = [
        "0" * 64,
        right.upper(),
        right[:-1],
        right + "0",
        "é",
        other["url"].rpartition("/")[2],
        hmac.new(sibling.key.encode(), token["id"].partition("_")[2].encode(), "sha256").hexdigest(),
        hmac.new(tenant.key.encode(), token["id"].encode(), "sha256").hexdigest(),
    ]
    for each in wrong:
        answer = anonymous.simulate_post(f"{TOKENS}/{token['id']}/callback/{each}", body=b"1")
        assert (answer.status_code, answer.json["code"]) == (401, "CALLBACK_REFUSED")
    assert right == hmac.new(tenant.key.encode(), token["id"].partition("_")[2].encode(), "sha256").hexdigest()
    for missing in ("waitpoint_" + "0" * 26, "waitpoint_x", "x", token["id"].upper()):
        answer = anonymous.simulate_post(f"{TOKENS}/{missing}/callback/{right}", body=b"1")
        assert (answer.status_code, answer.json["code"]) == (404, "WAITPOINT_NOT_FOUND")
    assert retrieve(tenant, token)["status"] == "WAITING"


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (b"", "{}"),
        (b"a=1&b=2", "{}"),
        (b'{"a": NaN}', "{}"),
        (b'{"a": 1e999}', "{}"),
        (b"\xff\xfe", "{}"),
        (b"[" * 1_000 + b"]" * 1_000, "{}"),
        (b"[" * 1_000_000, "{}"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "{}"),
        (b'\xef\xbb\xbf{"a": 1}', '{"a":1}'),
        (b'{"a": 1, "a": 2}', '{"a":2}'),
        (b"null", "null"),
        (b'"\\u0000\\ud800"', '"\\u0000\\ud800"'),
        ('{"é": "ß"}'.encode(), '{"\\u00e9":"\\u00df"}'),
    ],
)
def test_what_a_callback_may_send(tenant: Tenant, anonymous: testing.TestClient, body: bytes, output: str) -> None:
    token = create(tenant)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
    assert call_back(anonymous, token, body, headers=headers).json == {"success": True}
    assert retrieve(tenant, token)["output"] == output


def test_a_callback_says_its_length_and_is_not_too_large(tenant: Tenant, anonymous: testing.TestClient) -> None:
    token = create(tenant)
    chunked = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    answer = call_back(anonymous, token, b"{}", extras=chunked)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (411, "LENGTH_REQUIRED", "Content-Length")
    answer = call_back(anonymous, token, b'"' + b"x" * MAX_PAYLOAD_BYTES + b'"')
    assert (answer.status_code, answer.json["code"]) == (413, "BODY_TOO_LARGE")
    assert anonymous.simulate_get(urlsplit(token["url"]).path).status_code == 405
    assert retrieve(tenant, token)["status"] == "WAITING"
    largest = b'"' + b"x" * (MAX_PAYLOAD_BYTES - 2) + b'"'
    assert call_back(anonymous, token, largest).status_code == 200
    assert len(retrieve(tenant, token)["output"]) == MAX_PAYLOAD_BYTES


# --- idempotency keys


def test_a_key_leads_to_the_token_that_holds_it(tenant: Tenant, sibling: Tenant) -> None:
    key = secrets.token_hex(8)
    first, again = create(tenant, idempotencyKey=key, timeout="1h"), create(tenant, idempotencyKey=key)
    assert again == {**first, "isCached": True}
    assert create(sibling, idempotencyKey=key)["id"] != first["id"], "a key is one environment's"
    complete(tenant, first, "done")
    assert create(tenant, idempotencyKey=key)["id"] == first["id"], "a wait for it goes on at once"
    assert retrieve(tenant, first)["idempotencyKey"] == key


def test_a_request_that_is_sent_again_makes_no_second_token(tenant: Tenant, sibling: Tenant) -> None:
    """The first answer was lost; a client sends the same request key."""
    key = {"x-trigger-request-idempotency-key": secrets.token_hex(8)}
    before = len(listed(sibling)["data"])
    first, again = (sibling.client.simulate_post(TOKENS, json={"timeout": "1h"}, headers=key).json for _ in range(2))
    assert first == again and first["isCached"] is False
    assert len(listed(sibling)["data"]) == before + 1
    assert tenant.client.simulate_post(TOKENS, json={}, headers=key).json["id"] != first["id"]
    refused = sibling.client.simulate_post(TOKENS, json={}, headers={"x-trigger-request-idempotency-key": "a b"})
    assert (refused.status_code, refused.json["code"]) == (400, "HEADERS_INVALID")


def test_a_key_whose_time_is_over_leads_to_another(platform: Platform, tenant: Tenant) -> None:
    key = secrets.token_hex(8)
    first = create(tenant, idempotencyKey=key, idempotencyKeyTTL="1h")
    assert retrieve(tenant, first)["idempotencyKeyExpiresAt"]
    platform.database.rows(
        "UPDATE waitpoints SET idempotency_expires_at = now() - interval '1 second' WHERE id = %s", first["id"]
    )
    second = create(tenant, idempotencyKey=key, idempotencyKeyTTL="0s")
    assert not second["isCached"] and second["id"] != first["id"]
    assert create(tenant, idempotencyKey=key)["id"] != second["id"]
    assert "idempotencyKey" not in retrieve(tenant, first)


def test_one_token_of_many_that_are_made_at_once(tenant: Tenant) -> None:
    for _ in range(5):
        key = secrets.token_hex(8)
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(lambda _, key=key: create(tenant, idempotencyKey=key), range(8)))
        assert len({each["id"] for each in made}) == 1
        assert [each["isCached"] for each in made].count(False) == 1


def test_a_token_s_key_is_not_a_date_s(platform: Platform, tenant: Tenant) -> None:
    """A run's wait for a date may have the same key: neither is the other."""
    worker = prepared(platform, tenant)
    work, key = begun(tenant, worker), secrets.token_hex(4)
    token = create(tenant, idempotencyKey=key)
    assert wait(worker, work, date(platform, 60, idempotencyKey=key))["state"] == "blocked"
    assert retrieve(tenant, token)["status"] == "WAITING"
    assert create(tenant, idempotencyKey=key)["id"] == token["id"]
    tenant.client.simulate_post(f"/api/v2/runs/{work['run']['id']}/cancel")


# --- time-outs


@pytest.mark.parametrize("timeout", ["30s", "date"])
def test_a_token_nobody_completes_in_time(platform: Platform, tenant: Tenant, timeout: str) -> None:
    if timeout == "date":
        timeout = (platform.clock() + timedelta(seconds=30)).isoformat()
    worker = prepared(platform, tenant)
    work, token = begun(tenant, worker), create(tenant, timeout=timeout)
    found = retrieve(tenant, token)
    assert found["timeoutAt"] == found["completedAfter"]
    wish = {"key": "1:1", "kind": "token", "waitpoint": token["id"]}
    assert wait(worker, work, wish)["state"] == "blocked"
    platform.waiting.complete_due(platform.clock() + timedelta(seconds=31))
    platform.placing.readmit(platform.clock())
    told = beat(worker, {**work, "snapshot": stands(platform, work)[1]}, pending=["1:1"])["done"]["1:1"]
    assert (told["ok"], told["error"]["name"]) == (False, "WaitpointTimeoutError")
    found = retrieve(tenant, token)
    assert (found["status"], found["outputIsError"]) == ("TIMED_OUT", True)
    assert json.loads(found["output"])["code"] == "WAITPOINT_TIMED_OUT"
    assert complete(tenant, token, "late").status_code == 200
    assert retrieve(tenant, token)["status"] == "TIMED_OUT"
    tenant.client.simulate_post(f"/api/v2/runs/{work['run']['id']}/cancel")


def test_a_time_out_that_is_past_is_there_at_once(tenant: Tenant) -> None:
    assert retrieve(tenant, create(tenant, timeout="2020-01-01T00:00:00Z"))["status"] == "TIMED_OUT"


def test_a_token_that_is_complete_does_not_run_out_of_time(platform: Platform, tenant: Tenant) -> None:
    token = create(tenant, timeout="1s")
    complete(tenant, token, 1)
    platform.waiting.complete_due(platform.clock() + timedelta(seconds=5))
    assert retrieve(tenant, token)["status"] == "COMPLETED"


# --- listed


def test_the_list_is_filtered_and_paged(platform: Platform, sibling: Tenant) -> None:
    tag, key = secrets.token_hex(4), secrets.token_hex(4)
    waiting = [create(sibling, tags=[tag, f"{tag}-{n % 2}"])["id"] for n in range(5)]
    done = create(sibling, tags=[tag], idempotencyKey=key)
    complete(sibling, done, 1)
    late = create(sibling, tags=[tag], timeout="2020-01-01T00:00:00Z")
    # Newest first, which ids are made to sort by; of one millisecond in any order.
    everything = sorted([late["id"], done["id"], *waiting], reverse=True)

    def ids(**query: str) -> list[str]:
        return [each["id"] for each in listed(sibling, **query)["data"]]

    assert ids(**{"filter[tags]": tag}) == everything
    assert ids(**{"filter[tags]": f"{tag}-1,nothing"}) == sorted(waiting[1::2], reverse=True)
    assert ids(**{"filter[tags]": tag, "filter[status]": "WAITING"}) == sorted(waiting, reverse=True)
    assert ids(**{"filter[tags]": tag, "filter[status]": "COMPLETED,TIMED_OUT"}) == sorted(
        [late["id"], done["id"]], reverse=True
    )
    assert ids(**{"filter[tags]": tag, "filter[status]": "TIMED_OUT"}) == [late["id"]]
    assert ids(**{"filter[idempotencyKey]": key}) == [done["id"]]
    assert ids(**{"filter[tags]": tag, "filter[createdAt][period]": "1h"}) == everything
    assert ids(**{"filter[createdAt][from]": (platform.clock() + timedelta(hours=1)).isoformat()}) == []
    assert "output" not in listed(sibling)["data"][0]

    query: dict[str, Any] = {"filter[tags]": tag, "page[size]": 3}
    seen, page = [], listed(sibling, **query)
    while True:
        seen += [each["id"] for each in page["data"]]
        following = page["pagination"].get("next")
        if following is None:
            break
        page = listed(sibling, **query, **{"page[after]": following})
    assert seen == everything
    back = listed(sibling, **query, **{"page[before]": page["pagination"]["previous"]})
    assert [each["id"] for each in back["data"]] == seen[3:6]


def test_cursors_are_one_list_s_and_one_environment_s(tenant: Tenant, sibling: Tenant) -> None:
    for _ in range(2):
        create(tenant)
        tenant.trigger("hello")
    ours = listed(tenant, **{"page[size]": 1})["pagination"]["next"]
    runs = tenant.client.simulate_get("/api/v1/runs", params={"page[size]": 1}).json["pagination"]["next"]
    elsewhere = ((sibling.client, TOKENS, ours), (tenant.client, "/api/v1/runs", ours), (tenant.client, TOKENS, runs))
    for client, path, cursor in elsewhere:
        answer = client.simulate_get(path, params={"page[after]": cursor})
        assert (answer.status_code, answer.json["code"]) == (400, "CURSOR_INVALID")


# --- tenants


def test_another_environment_s_token_is_not_there(
    platform: Platform, tenant: Tenant, sibling: Tenant, stranger: Tenant
) -> None:
    token = create(tenant, tags="ours")
    work = begun(tenant, prepared(platform, tenant))
    waitpoint = platform.waits.token(tenant.environment, token["id"])
    assert waitpoint is not None
    for other in (sibling, stranger):
        for missing in (token["id"], "waitpoint_" + "0" * 26, "waitpoint_x", "run_x", work["run"]["id"]):
            for answer in (
                other.client.simulate_get(f"{TOKENS}/{missing}"),
                other.client.simulate_post(f"{TOKENS}/{missing}/complete", json={"data": 1}),
            ):
                assert (answer.status_code, answer.json["code"]) == (404, "WAITPOINT_NOT_FOUND")
                assert answer.json == NOT_FOUND
        assert token["id"] not in [each["id"] for each in listed(other)["data"]]
    assert retrieve(tenant, token)["status"] == "WAITING"
    tenant.client.simulate_post(f"/api/v2/runs/{work['run']['id']}/cancel")


NOT_FOUND = {
    "error": "There is no such token in this environment.",
    "code": "WAITPOINT_NOT_FOUND",
    "nextStep": "check the id and the key's environment",
}


def test_only_tokens_are_completed_by_their_ids(platform: Platform, tenant: Tenant) -> None:
    worker = prepared(platform, tenant)
    work = begun(tenant, worker)
    assert wait(worker, work, date(platform, 60))["state"] == "blocked"
    waitpoint = platform.waits.of_run(work["run"]["id"], ["1:1"])[0].id
    answer = tenant.client.simulate_post(f"{TOKENS}/{waitpoint}/complete", json={})
    assert answer.json == NOT_FOUND
    assert tenant.client.simulate_get(f"{TOKENS}/{waitpoint}").status_code == 404
    tenant.client.simulate_post(f"/api/v2/runs/{work['run']['id']}/cancel")


# --- bad input


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"timeout": "soon"}, 400, "timeout"),
        ({"timeout": ""}, 400, "timeout"),
        ({"timeout": "11y"}, 400, "timeout"),
        ({"timeout": "600w"}, 400, "timeout"),
        ({"timeout": 5}, 400, "timeout"),
        ({"idempotencyKey": ""}, 400, "idempotencyKey"),
        ({"idempotencyKey": "x" * 2049}, 400, "idempotencyKey"),
        ({"idempotencyKey": "a\x00b"}, 400, "idempotencyKey"),
        ({"idempotencyKey": "a", "idempotencyKeyTTL": "1w"}, 400, "idempotencyKeyTTL"),
        ({"idempotencyKey": "a", "idempotencyKeyTTL": "999999999d"}, 400, "idempotencyKeyTTL"),
        ({"tags": [str(n) for n in range(11)]}, 422, "tags"),
        ({"tags": "x" * 129}, 400, "tags"),
        ({"tags": ["\ud800"]}, 400, "tags.0"),
        ({"status": "COMPLETED"}, 400, "status"),
        ({"tags": ["x" * 128] * 90}, 413, None),
    ],
)
def test_what_no_token_is_made_of(
    platform: Platform, tenant: Tenant, body: dict[str, Any], status: int, field: str | None
) -> None:
    count = "SELECT count(*) FROM waitpoints"
    before = platform.database.rows(count)
    sent = json.dumps(body).encode()
    answer = tenant.client.simulate_post(TOKENS, body=sent, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json.get("field")) == (status, field), answer.text
    assert platform.database.rows(count) == before


@pytest.mark.parametrize(
    "query",
    [
        {"filter[status]": "PENDING"},
        {"filter[createdAt][period]": "long"},
        {"page[size]": "101"},
        {"page[size]": "0"},
        {"filter[nope]": "1"},
        {"page[after]": "made-up"},
    ],
)
def test_queries_that_are_refused(tenant: Tenant, query: dict[str, str]) -> None:
    answer = tenant.client.simulate_get(TOKENS, params=query)
    assert (answer.status_code, answer.json["field"]) == (400, next(iter(query)))


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"nope", b'{"data": NaN}', b'{"data": 1e999}', b'{"other": 1}'])
def test_a_completion_is_an_object_with_data(tenant: Tenant, body: bytes) -> None:
    token = create(tenant)
    answer = tenant.client.simulate_post(
        f"{TOKENS}/{token['id']}/complete", body=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert retrieve(tenant, token)["status"] == "WAITING"


def test_data_that_is_too_large(tenant: Tenant) -> None:
    token = create(tenant)
    assert complete(tenant, token, "x" * (MAX_PAYLOAD_BYTES - 1)).status_code == 413
    assert complete(tenant, token, "x" * (MAX_PAYLOAD_BYTES - 2)).status_code == 200
