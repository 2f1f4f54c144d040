"""Values that fit the form and are meant to break something: refused with a reason, or taken with a meaning.

`test_b05_…` and its like name rows of a matrix of hostile input. B01 and B04: also `test_bad_input.py`; B02:
`test_http_layer.py`; B03: `test_two_tenants.py` and `api/test_alike.py`; B06, many at once: `test_idempotency_race.py`;
B08: `unit/domain/test_cron_bounds.py`; B14: `api/test_tokens.py`; B15: `unit/domain/test_addresses.py`,
`unit/scheduler/test_posting.py`, `api/test_webhooks.py`; B16: `test_bad_input.py`, `api/test_alike.py` and
`unit/test_secrets_compared.py`; B17: `api/test_identity.py`, `api/test_public_tokens.py` and `api/test_worker.py`.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.routes import ROUTES
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, anonymous, app, executor, platform, tenant
from tests.contract.api.worker_calls import ask, completed

__all__ = ["anonymous", "app", "platform", "tenant"]

TRIGGER = "/api/v1/tasks/hostile/trigger"
HUGE = 2**63


def asked(tenant: Tenant, options: dict[str, Any]) -> testing.Result:
    return tenant.client.simulate_post(TRIGGER, json={"options": options})


# --- B05: triggers


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"ttl": -1}, "options.ttl"),
        ({"ttl": 10**18}, "options.ttl"),
        ({"ttl": "P1D"}, "options.ttl"),
        ({"ttl": "1h1h1h" * 100}, "options.ttl"),
        ({"delay": "later"}, "options.delay"),
        ({"delay": "9" * 40 + "w"}, "options.delay"),
        ({"delay": "10000-01-01T00:00:00Z"}, "options.delay"),
        ({"delay": "9999-12-31T23:59:59Z"}, "options.delay"),
        ({"delay": "9999-12-31T23:59:59-23:59"}, "options.delay"),
        ({"delay": "0001-01-01T00:00:00+23:59"}, "options.delay"),
        ({"ttl": "9" * 15 + "w"}, "options.ttl"),
        ({"idempotencyKey": ""}, "options.idempotencyKey"),
        ({"idempotencyKey": "é" * 1_025}, "options.idempotencyKey"),
        ({"idempotencyKey": 7}, "options.idempotencyKey"),
        ({"concurrencyKey": "x" * 10_000}, "options.concurrencyKey"),
        ({"queue": {"name": ":*{}"}}, "options.queue.name"),
        ({"queue": {"name": "task/" + "x" * 10_000}}, "options.queue.name"),
        ({"priority": HUGE}, "options.priority"),
        ({"priority": -HUGE}, "options.priority"),
        ({"priority": 1e308}, "options.priority"),
        ({"maxAttempts": 0}, "options.maxAttempts"),
        ({"maxAttempts": HUGE}, "options.maxAttempts"),
        ({"maxDuration": 0}, "options.maxDuration"),
        ({"machine": "huge-64x"}, "options.machine"),
        ({"idempotencyKey": "x" * 2_049}, "options.idempotencyKey"),
        ({"idempotencyKey": "a\u0000b"}, "options.idempotencyKey"),
        ({"idempotencyKeyTTL": "1"}, "options.idempotencyKeyTTL"),
        ({"idempotencyKeyTTL": "-1h"}, "options.idempotencyKeyTTL"),
        ({"tags": "x" * 129}, "options.tags"),
        ({"tags": ["a\u0000"]}, "options.tags.0"),
        ({"concurrencyKey": {"a": 1}}, "options.concurrencyKey"),
        ({"concurrencyKey": "\ud800"}, "options.concurrencyKey"),
        ({"queue": "name"}, "options.queue"),
        ({"queue": {"name": ""}}, "options.queue.name"),
        ({"metadata": "no json"}, "options.metadata"),
        ({"lockToVersion": "latest"}, "options.lockToVersion"),
        ({"parentRunId": "run_x' OR 1=1"}, "options.parentRunId"),
    ],
    ids=str,
)
def test_b05_options_that_are_refused(tenant: Tenant, options: dict[str, Any], field: str) -> None:
    answer = tenant.client.simulate_post(TRIGGER, body=json.dumps({"options": options}))
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json["field"].startswith(field.rpartition(".")[0] or field)


@pytest.mark.parametrize(
    "options",
    [
        {"concurrencyKey": "{org}:*"},
        {"concurrencyKey": "‮evil"},
        {"concurrencyKey": "💥" * 30},
        {"concurrencyKey": "a|b|c"},
        {"concurrencyKey": 0},
        {"queue": {"name": "a:b*c{d}|e"}},
        {"queue": {"name": "‮"}},
        {"queue": {"name": "x" * 1_000}},
        {"tags": ["<script>", "' OR 1=1 --"]},
        {"delay": "2001-01-01T00:00:00Z"},
        {"ttl": 0},
    ],
    ids=str,
)
def test_b05_options_that_are_odd_and_harmless(platform: Platform, tenant: Tenant, options: dict[str, Any]) -> None:
    """Stored, queued as everything else, and taken out again: what a queue or key is called breaks no other."""
    answer = asked(tenant, options)
    if answer.status_code != 200:
        assert answer.status_code in (400, 422) and answer.json["field"].startswith("options.")
        return
    run = answer.json["id"]
    assert tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel").status_code == 200
    assert platform.index.queue.members(tenant.organization, [run]) == [None]


@pytest.mark.parametrize("length", [1, 64, 65, 512, 513, 2_048])
def test_b05_lengths_of_idempotency_keys(tenant: Tenant, length: int) -> None:
    """Each of them is one key, all of it: its last character counts, in the body as in the header."""
    key = secrets.token_hex(length)[: length - 1]
    first, other = (asked(tenant, {"idempotencyKey": key + last}).json for last in "ab")
    assert not first["isCached"] and not other["isCached"]
    assert asked(tenant, {"idempotencyKey": key + "a"}).json == {"id": first["id"], "isCached": True}
    by_header = tenant.client.simulate_post(TRIGGER, json={}, headers={"Idempotency-Key": key + "a"})
    assert by_header.json == {"id": first["id"], "isCached": True}


def test_b05_a_task_that_nobody_knows_waits_for_its_deployment(tenant: Tenant) -> None:
    run = tenant.trigger(f"unknown-{secrets.token_hex(4)}")
    assert tenant.client.simulate_get(f"/api/v3/runs/{run}").json["status"] == "PENDING_VERSION"


@pytest.mark.parametrize("count", [-1, 0, 1_001, HUGE, 1.5, "1"])
def test_b05_sizes_of_batches(tenant: Tenant, count: Any) -> None:
    answer = tenant.client.simulate_post("/api/v3/batches", json={"runCount": count})
    assert (answer.status_code, answer.json["field"]) == (400, "runCount")


def test_b05_one_bad_item_strands_nobody(tenant: Tenant, platform: Platform) -> None:
    """An item that cannot be is a run that failed; the others run, and the batch is whole."""
    tenant.deploy(["hostile"])
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 5}).json["id"]
    items: list[Any] = [{"index": n, "task": "hostile", "payload": n} for n in range(5)]
    items[2]["options"] = {"machine": "huge-64x"}
    items[3]["payload"] = "x" * 3_200_000
    lines = "\n".join(json.dumps(item) for item in items)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = tenant.client.simulate_post(f"/api/v3/batches/{batch}/items", body=lines, headers=headers)
    assert answer.status_code == 200 and answer.json["sealed"], answer.text
    rows = platform.database.rows(
        "SELECT i.position, r.status, r.error FROM batch_items i JOIN runs r ON r.id = i.run_id"
        " WHERE i.batch_id = %s ORDER BY i.position", batch,
    )  # fmt: skip
    assert [row["status"] == "SYSTEM_FAILURE" for row in rows] == [False, False, True, True, False]


def test_b05_the_500th_item_strands_nobody(tenant: Tenant, platform: Platform) -> None:
    """Items are stored 500 at a time: one that cannot be, at the end of them, keeps neither these nor the next away."""
    tenant.deploy(["hostile"])
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 1_000}).json["id"]
    items: list[Any] = [{"index": n, "task": "hostile"} for n in range(1_000)]
    items[499]["options"] = {"ttl": -1}
    items[500]["options"] = {"queue": {"name": ":*{}"}}
    lines = "\n".join(json.dumps(item) for item in items)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = tenant.client.simulate_post(f"/api/v3/batches/{batch}/items", body=lines, headers=headers)
    assert answer.status_code == 200 and answer.json["sealed"] and answer.json["itemsAccepted"] == 1_000, answer.text
    rows = platform.database.rows(
        "SELECT i.position, r.status FROM batch_items i JOIN runs r ON r.id = i.run_id WHERE i.batch_id = %s", batch
    )
    assert len(rows) == 1_000
    assert {row["position"] for row in rows if row["status"] == "SYSTEM_FAILURE"} == {499, 500}


# --- B06: idempotency


def test_b06_a_key_with_another_payload_leads_to_the_first_run(tenant: Tenant) -> None:
    """As existing clients expect: a key says that it is the same, whatever is in it."""
    key = {"options": {"idempotencyKey": secrets.token_hex(8)}}
    first = tenant.client.simulate_post(TRIGGER, json=key | {"payload": 1}).json
    second = tenant.client.simulate_post(TRIGGER, json=key | {"payload": 2}).json
    assert second == {"id": first["id"], "isCached": True}
    other_task = tenant.client.simulate_post("/api/v1/tasks/another/trigger", json=key).json
    assert other_task["id"] != first["id"]


@pytest.mark.parametrize(
    ("outcome", "is_kept"),
    [
        ({"ok": True, "output": "1", "outputType": "application/json"}, True),
        ({"ok": False, "error": {"type": "STRING_ERROR", "raw": "x"}, "skippedRetrying": True}, False),
    ],
)
def test_b06_a_key_is_free_after_a_failure(
    platform: Platform, tenant: Tenant, outcome: dict[str, Any], is_kept: bool
) -> None:
    task = f"once-{secrets.token_hex(4)}"
    version = tenant.deploy([task])
    path, body = f"/api/v1/tasks/{task}/trigger", {"options": {"idempotencyKey": "k", "lockToVersion": version["version"]}}
    run = tenant.client.simulate_post(path, json=body).json["id"]
    worker = executor(platform, tenant, version["id"], f"executor_{secrets.token_hex(4)}")
    work = ask(worker, wait=5, served=1)["work"]
    while work["run"]["id"] != run:
        done = completed(work, {"ok": True, "output": "1", "outputType": "application/json"})
        work = ask(worker, wait=5, served=1, completion=done)["work"]
    ask(worker, wait=None, served=1, completion=completed(work, outcome))
    again = tenant.client.simulate_post(path, json=body).json
    assert (again["id"] == run, again["isCached"]) == (is_kept, is_kept)


# --- B07: lists


@pytest.mark.parametrize(
    "query",
    [
        {"page[size]": "-1"},
        {"page[size]": "0"},
        {"page[size]": "1000000000"},
        {"page[size]": "1e3"},
        {"page[after]": "run_" + "0" * 26},
        {"page[after]": "x" * 5_000},
        {"page[after]": "a", "page[before]": "b"},
        {"sort": "payload"},
        {"filter[organization_id]": "org_1"},
        {"filter[status]": "QUEUED," * 200},
        {"filter[createdAt][from]": "2027-01-01", "filter[createdAt][to]": "2026-01-01"},
        {"filter[createdAt][from]": "yesterday"},
        {"filter[createdAt][period]": "9" * 50 + "d"},
        {"filter[isTest]": "maybe"},
    ],
    ids=str,
)
def test_b07_queries_that_are_refused(tenant: Tenant, query: dict[str, str]) -> None:
    answer = tenant.client.simulate_get("/api/v1/runs", params=query, params_csv=False)
    assert answer.status_code == 400 and answer.json["error"], answer.text


#: Every list, with the parameters of its pages.
LISTS = [
    (re.sub(r"{(\w+)}", lambda name: {"ref": "current", "env": "dev"}.get(name[1], "x"), route.path), set(parameters))
    for route in ROUTES
    if route.method == "GET" and route.query and route.caller in (Caller.ENVIRONMENT, Caller.PROJECT)
    for parameters in [route.query.model_json_schema()["properties"]]
    if set(parameters) & {"page[size]", "page"}
]
HOSTILE_PAGES = [
    ("page[size]", "-1"), ("page[size]", "0"), ("page[size]", "1000000000"), ("page[size]", "x"), ("page[size]", "1_0"),
    ("page[after]", "x"), ("page[after]", "eA" * 100), ("page[after]", "\u0000"), ("page[before]", "../../x"),
    ("page", "-1"), ("page", "0"), ("page", str(HUGE)), ("page", "1e9"), ("perPage", "-1"), ("perPage", "0"),
    ("perPage", "x"), ("sort", "payload"), ("order", "1; DROP TABLE runs"), ("filter[organization_id]", "org_1"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "parameters"), LISTS, ids=lambda value: value if isinstance(value, str) else "")
def test_b07_no_list_takes_a_page_that_is_none(tenant: Tenant, path: str, parameters: set[str]) -> None:
    """Also in what it does not know: nothing that a query says is passed over, or becomes a part of a statement."""
    for name, value in HOSTILE_PAGES:
        answer = tenant.client.simulate_get(path, params={name: value}, params_csv=False)
        if name in parameters or answer.status_code != 404:
            assert answer.status_code == 400 and answer.json["error"], (name, value, answer.text)
            assert answer.json["code"] in ("QUERY_INVALID", "CURSOR_INVALID")
    many = {f"filter[x{n}]": "1" for n in range(500)}
    assert tenant.client.simulate_get(path, params=many).status_code == 400


def test_b07_a_filter_is_no_pattern(tenant: Tenant) -> None:
    """It is compared, and neither LIKE nor a regular expression."""
    asked(tenant, {"tags": ["abc"]})
    for text in ("a%", "_bc", "((a+)+)+$" * 500, "abc' OR '1'='1"):
        begin = time.monotonic()
        answer = tenant.client.simulate_get("/api/v1/runs", params={"filter[tag]": text})
        assert answer.status_code in (200, 400)
        assert answer.status_code == 400 or answer.json["data"] == []
        assert time.monotonic() - begin < 60, "nothing in it is searched for in a way that explodes"


# --- B08: cron


@pytest.mark.parametrize(
    "cron",
    [
        "0 0 31 2 *", "0 0 30 2 *", "* * * * * *", "*/0 * * * *", "59-0 * * * *", "* * * * L#5", "@yearly", "H * * * *",
        "0 0 0 * *", "60 * * * *", "* 24 * * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "a b c d e", "*", "",
        ",".join(["0"] * 5_000) + " * * * *", "1" * 300 + " * * * *", "* * * * *\n* * * * *", "0 0 31 2,4,6,9,11 *",
    ],
)  # fmt: skip
def test_b08_expressions_that_fire_never_or_are_none(tenant: Tenant, cron: str) -> None:
    tenant.deploy(["hostile"])
    answer = tenant.client.simulate_post(
        "/api/v1/schedules", json={"task": "hostile", "cron": cron, "deduplicationKey": secrets.token_hex(4)}
    )
    assert answer.status_code in (400, 422), answer.text
    assert answer.json["field"] == "cron"


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/localtime", "Europe/Nowhere", "UTC\u0000", "posixrules", ""])
def test_b08_zones_that_are_none(tenant: Tenant, zone: str) -> None:
    tenant.deploy(["hostile"])
    body = {"task": "hostile", "cron": "0 6 * * *", "deduplicationKey": secrets.token_hex(4), "timezone": zone}
    answer = tenant.client.simulate_post("/api/v1/schedules", json=body)
    assert answer.status_code in (400, 422) and answer.json["field"] == "timezone"


# --- B14: tokens


def test_b14_completions_at_once_have_one_winner(tenant: Tenant, anonymous: testing.TestClient) -> None:
    made = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={}).json
    path = "/" + made["url"].split("/", 3)[3]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: anonymous.simulate_post(path, json={"n": n}).status_code, range(16)))
    assert set(answers) == {200}
    shown = tenant.client.simulate_get(f"/api/v1/waitpoints/tokens/{made['id']}").json
    first = shown["output"]
    anonymous.simulate_post(path, json={"n": "late"})
    assert tenant.client.simulate_get(f"/api/v1/waitpoints/tokens/{made['id']}").json["output"] == first


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_b14_who_only_looks_completes_nothing(tenant: Tenant, anonymous: testing.TestClient, method: str) -> None:
    """Programs that follow each link of a mail, to see whether it is safe, complete no token."""
    made = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={}).json
    anonymous.simulate_request(method, "/" + made["url"].split("/", 3)[3])
    assert tenant.client.simulate_get(f"/api/v1/waitpoints/tokens/{made['id']}").json["status"] == "WAITING"


# --- B17: tokens of runs


def test_b17_a_runs_token_opens_nothing_when_the_run_is_over(platform: Platform, tenant: Tenant) -> None:
    version = tenant.deploy([f"over-{secrets.token_hex(4)}"])
    task = platform.versions.tasks(version["id"])[0].slug
    worker = executor(platform, tenant, version["id"], f"executor_{secrets.token_hex(4)}")
    tenant.trigger(task, lockToVersion=version["version"])
    work = ask(worker, wait=5, served=1)["work"]
    held = {"run": work["run"]["id"], "snapshot": work["snapshot"], "token": work["token"]}
    ask(
        worker,
        wait=None,
        served=1,
        completion=completed(work, {"ok": True, "output": "1", "outputType": "application/json"}),
    )
    answer = worker.simulate_post("/worker/v1/start", json=held)
    assert (answer.status_code, answer.json["code"]) == (409, "STALE")
    late = completed(work, {"ok": False, "error": {"type": "STRING_ERROR", "raw": "no"}, "skippedRetrying": True})
    ask(worker, wait=None, served=1, completion=late)
    assert tenant.client.simulate_get(f"/api/v3/runs/{work['run']['id']}").json["status"] == "COMPLETED"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x" * 100_000, "\u0000", "é"])
def test_b17_tokens_that_were_made_up(platform: Platform, tenant: Tenant, token: str) -> None:
    version = tenant.deploy([f"forged-{secrets.token_hex(4)}"])
    worker = executor(platform, tenant, version["id"], f"executor_{secrets.token_hex(4)}")
    run = tenant.trigger(lockToVersion=version["version"], task=platform.versions.tasks(version["id"])[0].slug)
    answer = worker.simulate_post("/worker/v1/start", json={"run": run, "snapshot": 1, "token": token})
    assert answer.status_code in (400, 401, 413), answer.text
