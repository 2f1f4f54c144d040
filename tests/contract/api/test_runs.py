"""Triggering, reading, cancelling and replaying runs through the real application."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from sojourn.control_plane.api.models.runs import RunReply, RunsReply, TimelineReply
from sojourn.control_plane.domain import ids
from sojourn.control_plane.engine.errors import QueueFull
from sojourn.control_plane.engine.room import Room
from sojourn.control_plane.engine.triggering import Triggering, TriggerRequest
from sojourn.control_plane.store.queues import Queues
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import API_VERSION
from tests.contract.api.conftest import Tenant
from tests.support.stack import until


def test_a_trigger_is_answered_when_the_run_is_stored(tenant: Tenant, platform: Platform) -> None:
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={"payload": {"a": 1}})
    assert answer.status_code == 200
    assert set(answer.json) == {"id", "isCached"} and answer.json["isCached"] is False
    stored = platform.runs.find(tenant.environment, answer.json["id"])
    assert stored and (stored.task, stored.payload) == ("hello", '{"a":1}')


def test_a_run_is_shown_with_what_it_was_given(tenant: Tenant) -> None:
    run = tenant.trigger(payload=[1, None, "é"], tags=["b", "a"], metadata={"m": 1}, ttl="10m", test=True)
    answer = tenant.client.simulate_get(f"/api/v3/runs/{run}")
    wire = answer.json
    RunReply.model_validate(wire)
    assert (wire["payload"], wire["tags"], wire["metadata"]) == ([1, None, "é"], ["a", "b"], {"m": 1})
    assert (wire["ttl"], wire["isTest"], wire["isQueued"], wire["attemptCount"]) == ("10m", True, True, 0)


def test_the_older_vocabulary_is_spoken_without_the_header(tenant: Tenant, platform: Platform) -> None:
    run = tenant.trigger("vocabulary")
    platform.database.rows("UPDATE runs SET status = 'WAITING', snapshot_status = 'QUEUED' WHERE id = %s", run)
    path = f"/api/v3/runs/{run}"
    assert tenant.client.simulate_get(path).json["status"] == "WAITING"
    assert tenant.client.simulate_get(path, headers={"x-trigger-api-version": "other"}).json["status"] == "FROZEN"


def test_an_idempotency_key_leads_to_the_first_run(tenant: Tenant) -> None:
    body = {"options": {"idempotencyKey": "order-1"}}
    first = tenant.client.simulate_post("/api/v1/tasks/pay/trigger", json=body).json
    again = tenant.client.simulate_post("/api/v1/tasks/pay/trigger", json=body).json
    header = tenant.client.simulate_post("/api/v1/tasks/pay/trigger", json={}, headers={"idempotency-key": "order-1"})
    assert first["isCached"] is False
    assert again == header.json == {"id": first["id"], "isCached": True}
    assert tenant.trigger("other", idempotencyKey="order-1") != first["id"]


def test_a_request_that_is_repeated_counts_once(tenant: Tenant) -> None:
    headers = {"x-trigger-request-idempotency-key": "aaaaaaaa-0000-0000-0000-000000000001"}
    answers = [tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={}, headers=headers) for _ in range(3)]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert not any(answer.json["isCached"] for answer in answers)


def test_the_key_of_a_request_is_bound_to_its_address(tenant: Tenant) -> None:
    headers = {"x-trigger-request-idempotency-key": "aaaaaaaa-0000-0000-0000-000000000002"}

    def triggered(task: str) -> Any:
        return tenant.client.simulate_post(f"/api/v1/tasks/{task}/trigger", json={}, headers=headers).json["id"]

    assert triggered("first") == triggered("first") != triggered("second") == triggered("second")


def test_the_key_of_a_request_holds_for_a_day(tenant: Tenant, platform: Platform) -> None:
    headers = {"x-trigger-request-idempotency-key": "aaaaaaaa-0000-0000-0000-000000000003"}
    for table, path, body in (
        ("runs", "/api/v1/tasks/hello/trigger", {}),
        ("batches", "/api/v3/batches", {"runCount": 1}),
        ("waitpoints", "/api/v1/waitpoints/tokens", {}),
    ):

        def made(path: str = path, body: Any = body) -> str:
            return str(tenant.client.simulate_post(path, json=body, headers=headers).json["id"])

        first = made()
        assert made() == first
        platform.database.rows(
            f"UPDATE {table} SET created_at = created_at - interval '25 hours' WHERE id = %s",
            first,
        )
        second = made()
        assert second != first and made() == second


def test_a_full_queue_refuses_further_runs_and_stores_nothing(tenant: Tenant, platform: Platform) -> None:
    tenant.deploy(["fill"])
    tenant.trigger("fill")
    waiting = platform.queue.size(tenant.organization)
    limited = Triggering(
        platform.runs,
        Queues(platform.database),
        platform.index,
        platform.debouncing,
        platform.packets,
        room=Room(platform.index, platform.stored_batches, waiting),
    )
    environment = platform.access.environment(tenant.environment, platform.clock())
    assert environment
    before = platform.database.rows("SELECT count(*) AS n FROM runs")
    with pytest.raises(QueueFull):
        limited.trigger(environment, TriggerRequest("fill"), platform.clock())
    assert platform.database.rows("SELECT count(*) AS n FROM runs") == before


@pytest.mark.parametrize("when", ["the version is there", "the version comes later"])
def test_a_development_environment_forgets_what_nobody_runs(
    tenant: Tenant, sibling: Tenant, platform: Platform, when: str
) -> None:
    """Ten minutes, unless the trigger or the task says something else; elsewhere runs wait for ever."""
    task = f"ttl-{len(when)}"
    for owner in (tenant, sibling):
        if when == "the version is there":
            owner.deploy([task])
    asked: list[tuple[Tenant, dict[str, Any], int | None]] = [
        (tenant, {}, 600), (tenant, {"ttl": 0}, 0), (tenant, {"ttl": "1h"}, 3600), (sibling, {}, None)
    ]  # fmt: skip
    made = [(owner, owner.trigger(task, **options), seconds) for owner, options, seconds in asked]
    if when == "the version comes later":
        tenant.deploy([task])
        sibling.deploy([task])
    for owner, run, seconds in made:
        found = platform.runs.find(owner.environment, run)
        assert found and found.ttl_seconds == seconds
        assert (found.ttl_expires_at is not None) is bool(seconds)


def test_a_run_that_has_ended_has_no_more_children(tenant: Tenant, platform: Platform) -> None:
    parent = tenant.trigger("parent")
    child = tenant.trigger("child", parentRunId=parent)
    found = platform.runs.find(tenant.environment, child)
    assert found and found.parent_run_id == parent
    tenant.client.simulate_post(f"/api/v2/runs/{parent}/cancel")
    body = {"options": {"parentRunId": parent}}
    answer = tenant.client.simulate_post("/api/v1/tasks/child/trigger", json=body)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (422, "PARENT_IS_OVER", "options.parentRunId")


@pytest.mark.parametrize(
    "options",
    [{"queue": {"name": "\ud800"}}, {"concurrencyKey": "\ud800"}, {"machine": "\ud800"}, {"idempotencyKey": "\ud800"}],
)
def test_half_a_character_is_refused_wherever_it_would_be_a_name(tenant: Tenant, options: dict[str, Any]) -> None:
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", body=json.dumps({"options": options}))
    assert answer.status_code == 400 and answer.json["field"].startswith("options."), answer.text


def test_an_unknown_version_is_refused(tenant: Tenant) -> None:
    body = {"options": {"lockToVersion": "20200101.1"}}
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "VERSION_NOT_FOUND")
    assert answer.json["field"] == "options.lockToVersion"


def test_a_version_that_lacks_the_task_is_refused(tenant: Tenant) -> None:
    """It has its tasks for good, so that the run would wait for ever."""
    version = tenant.deploy(["hello"])["version"]
    body = {"options": {"lockToVersion": version}}
    answer = tenant.client.simulate_post("/api/v1/tasks/nowhere/trigger", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "VERSION_NOT_FOUND")
    assert "has no task nowhere" in answer.json["error"]


def test_a_delay_is_shown(tenant: Tenant, platform: Platform) -> None:
    tenant.deploy(["delayed"])
    run = tenant.trigger("delayed", delay="1h")
    wire = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    assert wire["status"] == "DELAYED" and wire["delayedUntil"] > wire["createdAt"]


# --- lists


def pages(tenant: Tenant, **query: Any) -> list[list[str]]:
    """Every page's run ids, going on by `next`."""
    found, after = [], None
    while True:
        params = query | ({"page[after]": after} if after else {})
        answer = tenant.client.simulate_get("/api/v1/runs", params=params)
        RunsReply.model_validate(answer.json)
        found.append([run["id"] for run in answer.json["data"]])
        after = answer.json["pagination"].get("next")
        if not after:
            return found


def test_pages_hold_every_run_once_newest_first(tenant: Tenant) -> None:
    made = sorted(tenant.trigger("paged") for _ in range(5))  # those of one millisecond have no other order than their ids'
    query = {"filter[taskIdentifier]": "paged", "page[size]": 2}
    assert pages(tenant, **query) == [made[:2:-1], made[2:0:-1], made[:1]]


def test_a_page_leads_back(tenant: Tenant) -> None:
    made = sorted(tenant.trigger("back") for _ in range(4))
    query = {"filter[taskIdentifier]": "back", "page[size]": 2}
    first = tenant.client.simulate_get("/api/v1/runs", params=query).json
    following = query | {"page[after]": first["pagination"]["next"]}
    second = tenant.client.simulate_get("/api/v1/runs", params=following).json
    assert [run["id"] for run in second["data"]] == made[1::-1]
    back = tenant.client.simulate_get(
        "/api/v1/runs", params=query | {"page[before]": second["pagination"]["previous"]}
    ).json
    assert back["data"] == first["data"]
    assert "previous" not in first["pagination"]


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ({"filter[tag]": "red"}, ["a"]),
        ({"filter[tag]": "red,green"}, ["b", "a"]),
        ({"filter[queue]": "mail"}, ["b"]),
        ({"filter[queue]": "task/filter-a"}, ["a"]),
        ({"filter[machine]": "micro"}, ["b"]),
        ({"filter[isTest]": "true"}, ["a"]),
        ({"filter[status]": "PENDING_VERSION"}, ["b", "a"]),
        ({"filter[status]": "WAITING_FOR_DEPLOY,COMPLETED"}, ["b", "a"]),
        ({"filter[status]": "COMPLETED"}, []),
        ({"filter[createdAt][period]": "1h"}, ["b", "a"]),
        ({"filter[createdAt][from]": "2100-01-01"}, []),
        ({"filter[createdAt][to]": "978307200000"}, []),
        ({"filter[version]": "20200101.1"}, []),
        ({"filter[taskIdentifier]": "filter-a"}, ["a"]),
    ],
)
def test_filters(platform: Platform, tenant: Tenant, query: dict[str, str], fits: list[str]) -> None:
    first = tenant.trigger("filter-a", idempotencyKey="k", tags=["red"], test=True)
    # Runs of one millisecond have no order but their ids': the second is made in a later one.
    until(lambda: ids.make("run", platform.clock(), bytes(ids.RANDOM_BYTES)) > first, 20, "a later millisecond")
    second = tenant.trigger("filter-b", tags=["green"], queue={"name": "mail"}, machine="micro", idempotencyKey="k")
    made = {first: "a", second: "b"}
    narrowed = {"filter[taskIdentifier]": "filter-a,filter-b"} | query
    answer = tenant.client.simulate_get("/api/v1/runs", params=narrowed)
    assert [made[run["id"]] for run in answer.json["data"]] == fits


@pytest.mark.parametrize(
    "query",
    [
        {"page[size]": "0"},
        {"page[size]": "101"},
        {"page[size]": "-1"},
        {"page[size]": "1e9"},
        {"filter[status]": "NOPE"},
        {"filter[machine]": "huge"},
        {"filter[isTest]": "maybe"},
        {"filter[createdAt][from]": "yesterday"},
        {"filter[createdAt][from]": "2026-02-01", "filter[createdAt][to]": "2026-01-01"},
        {"filter[createdAt][period]": "forever"},
        {"filter[taskIdentifier]": "((a+)+)+$" * 5_000},
        {"filter[tag]": ",".join(str(n) for n in range(500))},
        {"filter[tag]": "a\x00"},
        {"sort": "payload"},
        {"filter[bulkAction]": "a\x00"},
        {"page[after]": "run_1"},
        {"page[after]": "' OR 1=1 --"},
        {"page[after]": "x" * 10_000},
    ],
)
def test_queries_that_cannot_be_used(tenant: Tenant, query: dict[str, str]) -> None:
    answer = tenant.client.simulate_get("/api/v1/runs", params=query)
    assert answer.status_code == 400
    assert answer.json["code"] in ("QUERY_INVALID", "CURSOR_INVALID") and answer.json["field"]


def test_another_tenants_cursor_is_refused(tenant: Tenant, stranger: Tenant) -> None:
    for _ in range(2):
        tenant.trigger("cursor")
    page = tenant.client.simulate_get("/api/v1/runs", params={"page[size]": 1}).json
    query = {"page[after]": page["pagination"]["next"]}
    assert tenant.client.simulate_get("/api/v1/runs", params=query).status_code == 200
    answer = stranger.client.simulate_get("/api/v1/runs", params=query)
    assert (answer.status_code, answer.json["code"]) == (400, "CURSOR_INVALID")


# --- acting on runs


def test_cancelling_twice_is_answered_alike(tenant: Tenant) -> None:
    run = tenant.trigger()
    for _ in range(2):
        answer = tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel", headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json) == (200, {"id": run})
    wire = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    assert (wire["status"], wire["isCancelled"], wire["isCompleted"]) == ("CANCELED", True, True)
    result = tenant.client.simulate_get(f"/api/v1/runs/{run}/result").json
    assert (result["ok"], result["error"]["code"]) == (False, "TASK_RUN_CANCELLED")


def test_executors_of_one_machine_are_all_in_one_region(tenant: Tenant) -> None:
    run = tenant.trigger(region="default")
    assert tenant.client.simulate_get(f"/api/v3/runs/{run}").json["region"] == "default"
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={"options": {"region": "eu"}})
    assert (answer.status_code, answer.json["code"]) == (422, "REGION_UNKNOWN")
    assert answer.json["error"] == "there is no region 'eu': there are default"
    assert "placement on Nomad" in answer.json["nextStep"]


@pytest.mark.parametrize("ttl", ["77s", 0, None])
def test_a_replay_has_as_long_as_the_run_had(tenant: Tenant, sibling: Tenant, platform: Platform, ttl: Any) -> None:
    for owner in (tenant, sibling):
        run = owner.trigger(**({} if ttl is None else {"ttl": ttl}))
        again = owner.client.simulate_post(f"/api/v1/runs/{run}/replay").json["id"]
        rows = platform.database.rows("SELECT ttl_seconds FROM runs WHERE id = ANY(%s)", [run, again])
        assert len(rows) == 2 and rows[0] == rows[1]


def test_a_run_with_many_children_has_its_parent_and_its_root(tenant: Tenant) -> None:
    root = tenant.trigger("family")
    parent = tenant.trigger("family", parentRunId=root)
    run = tenant.trigger("family", parentRunId=parent)
    children = [tenant.trigger("family", parentRunId=run) for _ in range(101)]
    related = tenant.client.simulate_get(f"/api/v3/runs/{run}").json["relatedRuns"]
    assert (related["root"]["id"], related["parent"]["id"]) == (root, parent)
    assert len(related["children"]) == 100 and {child["id"] for child in related["children"]} < set(children)


def test_a_replay_is_a_new_run_like_the_old_one(tenant: Tenant) -> None:
    run = tenant.trigger(payload={"a": 1}, tags=["t"], idempotencyKey="replayed")
    answer = tenant.client.simulate_post(f"/api/v1/runs/{run}/replay")
    assert answer.status_code == 200 and answer.json["id"] != run
    wire = tenant.client.simulate_get(f"/api/v3/runs/{answer.json['id']}").json
    assert (wire["payload"], wire["tags"]) == ({"a": 1}, ["t"]) and "idempotencyKey" not in wire


def test_a_result_that_is_not_there_yet(tenant: Tenant) -> None:
    run = tenant.trigger()
    answer = tenant.client.simulate_get(f"/api/v1/runs/{run}/result", params={"wait": "0.05"})
    assert (answer.status_code, answer.json["code"]) == (404, "RUN_NOT_FINISHED")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "long"])
def test_waits_that_cannot_be(tenant: Tenant, wait: str) -> None:
    answer = tenant.client.simulate_get(f"/api/v1/runs/{tenant.trigger()}/result", params={"wait": wait})
    assert (answer.status_code, answer.json["code"]) == (400, "QUERY_INVALID")


def test_a_timeline_begins_with_the_trigger(tenant: Tenant) -> None:
    run = tenant.trigger()
    wire = tenant.client.simulate_get(f"/api/v1/runs/{run}/timeline").json
    TimelineReply.model_validate(wire)
    assert wire["snapshots"][0]["seq"] == 1 and wire["attempts"] == []


def test_a_run_expires(tenant: Tenant, platform: Platform) -> None:
    tenant.deploy(["expiring"])
    run = tenant.trigger("expiring", ttl=1)
    assert platform.expiring.expire(platform.clock() + timedelta(seconds=2), 100) >= 1
    result = tenant.client.simulate_get(f"/api/v1/runs/{run}/result").json
    assert result["ok"] is False and "expired" in result["error"]["raw"]


# --- who may see what

PATHS = [
    ("GET", "/api/v3/runs/{}"),
    ("POST", "/api/v2/runs/{}/cancel"),
    ("POST", "/api/v1/runs/{}/replay"),
    ("GET", "/api/v1/runs/{}/result"),
    ("GET", "/api/v1/runs/{}/logs"),
    ("GET", "/api/v1/runs/{}/timeline"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_what_is_anothers_is_not_there(
    tenant: Tenant, stranger: Tenant, sibling: Tenant, platform: Platform, method: str, path: str
) -> None:
    run = tenant.trigger("private")
    absent = run[:-5] + "00000"
    before = platform.runs.find(tenant.environment, run)
    answers = []
    for other in (stranger, sibling):
        answers += [other.client.simulate_request(method, path.format(name)) for name in (run, absent)]
    answers.append(tenant.client.simulate_request(method, path.format(absent)))
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json["code"] == "RUN_NOT_FOUND" and answers[0].headers["x-should-retry"] == "false"
    assert platform.runs.find(tenant.environment, run) == before


@pytest.mark.parametrize(
    "name",
    [
        "run_1",
        "..%2f..%2fetc%2fpasswd",
        "' OR 1=1 --",
        "x" * 10_000,
        "%00",
        "deployment_" + "0" * 26,
        "RUN_" + "0" * 26,
    ],
)
def test_what_is_no_runs_id_is_not_there(tenant: Tenant, name: str) -> None:
    assert tenant.client.simulate_get(f"/api/v3/runs/{name}").status_code == 404


def test_answers_are_json_that_no_browser_may_sniff_or_keep(tenant: Tenant) -> None:
    answer = tenant.client.simulate_get("/api/v1/runs")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"


def test_a_later_api_version_is_not_taken_for_this_one(tenant: Tenant) -> None:
    answer = tenant.client.simulate_get("/api/v1/runs", headers={"x-trigger-api-version": API_VERSION + "x"})
    assert answer.status_code == 200
