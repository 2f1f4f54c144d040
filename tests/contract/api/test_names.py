"""Names and values that may be sent: whatever a body takes, an address can name and a filter can find."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode

import pytest
from falcon import testing

from sojourn.control_plane import wsgi
from sojourn.sdk.client import Client
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.run import Runs
from tests.contract.api.conftest import Tenant, deployment
from tests.contract.api.test_queues import path as queue_path

TASKS = [
    "a/b", "a b", " a ", "ä ö", "a?b#c", "%", "a%2", "a,b", "x" * 256, "a\tb", "a\nb", "a\x1fb", "a\u202eb", "a\u00a0b",
    "a\u200db", "a%2Fb", "a%2fb", ".", "..",
]  # fmt: skip
RUNS = "/api/v1/runs"


def named(name: str) -> str:
    return f"{name}-{secrets.token_hex(4)}"


def trigger_path(task: str) -> str:
    return f"/api/v1/tasks/{quote(task, safe='')}/trigger"


def found(tenant: Tenant, *query: tuple[str, str]) -> list[str]:
    answer = tenant.client.simulate_get(RUNS, query_string=urlencode(query))
    assert answer.status_code == 200, answer.text
    return [run["id"] for run in answer.json["data"]]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_taken_everywhere_or_nowhere(tenant: Tenant, task: str) -> None:
    by_address = tenant.client.simulate_post(trigger_path(task), json={})
    items = {"items": [{"task": task}]}
    in_a_batch = tenant.client.simulate_post("/api/v1/tasks/batch", json=items)
    deployed = tenant.client.simulate_post("/api/v1/deployments", json=deployment([task], secrets.token_hex(4)))
    scheduled = tenant.client.simulate_post(
        "/api/v1/schedules", json={"task": task, "cron": "0 0 1 1 *", "deduplicationKey": secrets.token_hex(4)}
    )
    waiting = tenant.client.simulate_post(trigger_path("other"), json={"options": {"queue": {"name": f"task/{task}"}}})
    answers = (by_address, in_a_batch, deployed, scheduled, waiting)
    if by_address.status_code != 200:
        assert [answer.status_code for answer in answers] == [400, 400, 422, 400, 400], [a.text for a in answers]
        return
    assert [answer.status_code for answer in answers] == [200] * 5, [answer.text for answer in answers]
    runs = {by_address.json["id"], in_a_batch.json["runs"][0]["id"]}
    assert runs <= set(found(tenant, *[("filter[taskIdentifier]", task)] * 2))
    assert waiting.json["id"] in found(tenant, *[("filter[queue]", f"task/{task}")] * 2)
    queue = tenant.client.simulate_get(queue_path(task), params={"type": "task"})
    assert queue.status_code == 200 and queue.json["name"] == task


@pytest.mark.parametrize(
    "key", ["a/b", "a%2Fb", "a\nb", "a\tb", "a\x1fb", "\u00a0", "\u202e", "a\u200db", " a ", "🙂" * 512]
)
def test_a_key_that_is_taken_can_be_reset(tenant: Tenant, key: str) -> None:
    task = named("key")
    first = tenant.trigger(task, idempotencyKey=key)
    assert tenant.trigger(task, idempotencyKey=key) == first
    address = f"/api/v1/idempotencyKeys/{quote(key, safe='')}/reset"
    answer = tenant.client.simulate_post(address, json={"taskIdentifier": task})
    assert (answer.status_code, answer.json) == (200, {"id": key})
    assert tenant.trigger(task, idempotencyKey=key) != first


def raw(app: wsgi.App, tenant: Tenant, target: str, method: str = "POST") -> tuple[str, bytes]:
    """What the server answers to an address just as it is, as gunicorn hands it on."""
    path, _, query = target.partition("?")
    env = testing.create_environ("/", method=method, body="{}", headers={"Authorization": f"Bearer {tenant.key}"})
    env |= {"RAW_URI": target, "PATH_INFO": unquote_to_bytes(path).decode("latin-1"), "QUERY_STRING": query}
    seen: list[str] = []
    body = b"".join(app(env, lambda status, headers, *_: seen.append(status)))
    return seen[0], body


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/tasks/%FF/trigger", "/api/v1/tasks/a%2F%FF/trigger", "/api/v1/tasks/%ED%A0%80/trigger",
        "/api/v1/tasks/a%1Fb/trigger", "/api/v1/tasks/a%2F%1Fb/trigger", "/api/v1/tasks/a%00b/trigger",
    ],
)  # fmt: skip
def test_an_address_names_what_it_says_or_nothing(app: wsgi.App, tenant: Tenant, target: str) -> None:
    status, body = raw(app, tenant, target)
    assert status.startswith("400 ") and b"PARAMS_INVALID" in body


def test_a_query_is_utf_8(app: wsgi.App, tenant: Tenant) -> None:
    assert raw(app, tenant, f"{RUNS}?filter[tag]=%C3%A4", "GET")[0].startswith("200 ")
    status, body = raw(app, tenant, f"{RUNS}?filter[tag]=%FF", "GET")
    assert status.startswith("400 ") and b"PARAMS_INVALID" in body


TAGS = [" pad ", "x,y", ",", "a, b", "%", "a\nb", "ü", "A"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_that_is_stored_is_found(tenant: Tenant, tag: str) -> None:
    run, token = tenant.trigger(named("tagged"), tags=[tag]), {"tags": [tag]}
    waitpoint = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json=token).json["id"]
    assert run in found(tenant, ("filter[tag]", tag), ("filter[tag]", tag))
    query = urlencode([("filter[tags]", tag), ("filter[tags]", "none")])
    tokens = tenant.client.simulate_get("/api/v1/waitpoints/tokens", query_string=query).json["data"]
    assert waitpoint in [each["id"] for each in tokens]
    if "," not in tag:
        assert run in found(tenant, ("filter[tag]", tag))


def test_commas_separate_values_in_one_parameter_and_spaces_belong_to_them(tenant: Tenant) -> None:
    task = named("spaced")
    one, two = tenant.trigger(task, tags=["one"]), tenant.trigger(task, tags=[" two"])
    of_task = ("filter[taskIdentifier]", task)
    assert found(tenant, of_task, ("filter[tag]", "one, two")) == sorted([one, two], reverse=True)
    assert found(tenant, of_task, ("filter[tag]", "one,two")) == [one]
    assert found(tenant, of_task, ("filter[status]", "PENDING_VERSION, QUEUED , FAILED")) == sorted(
        [one, two], reverse=True
    )
    answer = tenant.client.simulate_get(RUNS, query_string=urlencode([("filter[tag]", " "), ("filter[tag]", "  ")]))
    assert answer.status_code == 400 and answer.json["field"] == "filter[tag]"


def test_a_key_to_some_tags_lists_those_and_no_others(tenant: Tenant, app: wsgi.App) -> None:
    """What the guard looks at is what the list looks for."""
    made = tenant.client.simulate_post("/api/v1/keys", json={"scopes": ["read:tags:x,y"]}).json["key"]
    client = testing.TestClient(app, headers={"Authorization": f"Bearer {made}"})
    for query, status in (
        ([("filter[tag]", "x,y")], 403),
        ([("filter[tag]", "x,y")] * 2, 200),
        ([("filter[tag]", "x,y"), ("filter[tag]", "x")], 403),
        ([("filter[tag]", " x,y")] * 2, 403),
    ):
        assert client.simulate_get(RUNS, query_string=urlencode(query)).status_code == status, query


def sdk(tenant: Tenant) -> Client:
    """The SDK, over the application."""

    def answer(request: Request) -> Response:
        target, _, query = request.path.partition("?")
        given: dict[str, Any] = {"body": request.body, "headers": request.headers, "query_string": query}
        got = tenant.client.simulate_request(request.method, target, **given)
        return Response(got.status_code, {name.lower(): value for name, value in got.headers.items()}, got.content)

    return Client("http://app", tenant.key, transport=answer)


@pytest.mark.parametrize("tag", TAGS)
def test_the_sdk_finds_by_a_list_what_it_stored(tenant: Tenant, tag: str) -> None:
    runs = Runs(sdk(tenant))
    task = named("sdk")
    ids = {tenant.trigger(task, tags=[tag]), tenant.trigger(task, tags=["other"])}
    assert {run.id for run in runs.list(task=task, tag=[tag, "other"])} == ids
    (run,) = runs.list(task=task, tag=[tag])
    assert run.id in ids


def test_a_repeated_batch_tells_of_its_own_runs(tenant: Tenant) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = {"items": [{"task": "one", "options": {"idempotencyKey": secrets.token_hex(8)}}, {"task": "two"}]}
    made = tenant.client.simulate_post("/api/v1/tasks/batch", json=first, headers=key).json
    again = tenant.client.simulate_post("/api/v1/tasks/batch", json={"items": [{"task": "three"}]}, headers=key).json
    assert again["isCached"] and again["id"] == made["id"]
    told = [{name: run.get(name) for name in ("id", "taskIdentifier", "idempotencyKey")} for run in made["runs"]]
    assert [{name: run.get(name) for name in ("id", "taskIdentifier", "idempotencyKey")} for run in again["runs"]] == told


def test_a_whole_batch_says_what_is_wrong_with_a_name(tenant: Tenant) -> None:
    for item, said in (
        ({"task": "a\x07b"}, "items.1.task: a task's id has 1 to 256 printable characters"),
        ({"task": "a%2Fb"}, "items.1.task: a task's id is neither"),
        ({"task": ""}, "items.1.task: an item names its task"),
        ({}, "items.1.task: an item names its task"),
    ):
        refused = tenant.client.simulate_post("/api/v1/tasks/batch", json={"items": [{"task": "one"}, item]})
        assert refused.status_code == 400 and said in refused.json["error"]
