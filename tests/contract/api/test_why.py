"""Why runs wait, through the real application: what is told is what real dequeues then do."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.api.models.runs import WhyReply
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, next_order
from tests.contract.api.test_queues import change, finish, take
from tests.contract.api.test_waits import begun, date, wait
from tests.contract.api.worker_calls import ask, completed


def why(tenant: Tenant, run: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v1/runs/{run}/why")
    assert answer.status_code == 200, answer.text
    WhyReply.model_validate(answer.json)
    assert answer.json["id"] == run
    assert answer.json["isWaiting"] is bool(answer.json["reasons"])
    return dict(answer.json)


def reasons(tenant: Tenant, run: str) -> list[tuple[str, str | None]]:
    return [(each["reason"], each.get("scope")) for each in why(tenant, run)["reasons"]]


@pytest.fixture
def queue() -> dict[str, str]:
    return {"name": f"q-{secrets.token_hex(4)}"}


def test_a_run_that_only_wants_an_executor(tenant: Tenant, worker: testing.TestClient, queue: dict[str, str]) -> None:
    first, second = tenant.trigger(queue=queue), tenant.trigger(queue=queue)
    [cause] = why(tenant, second)["reasons"]
    assert (cause["reason"], cause["ahead"]) == ("NO_CAPACITY", 1)
    assert why(tenant, first)["reasons"][0]["ahead"] == 0
    work = take(worker)
    assert work and work["run"]["id"] == first
    assert why(tenant, first) == {"id": first, "status": "EXECUTING", "isWaiting": False, "reasons": []}
    finish(worker, work)
    assert reasons(tenant, first) == []


def test_a_limit_and_who_holds_it(tenant: Tenant, worker: testing.TestClient, queue: dict[str, str]) -> None:
    runs = [tenant.trigger(queue=queue, concurrencyKey="k") for _ in range(2)]
    change(tenant, queue["name"], "concurrency/override", concurrencyLimit=1)
    work = take(worker)
    assert work
    [cause] = why(tenant, runs[1])["reasons"]
    assert (cause["reason"], cause["scope"], cause["limit"], cause["held"]) == ("LIMIT_REACHED", "key", 1, 1)
    assert cause["heldBy"] == [runs[0]]
    finish(worker, work)
    assert reasons(tenant, runs[1]) == [("NO_CAPACITY", None)]


def test_pauses_of_the_queue_and_the_environment(
    platform: Platform, tenant: Tenant, version: str, queue: dict[str, str]
) -> None:
    run = tenant.trigger(queue=queue)
    change(tenant, queue["name"], "pause", action="pause")
    assert reasons(tenant, run) == [("PAUSED", "queue")]
    pause = "UPDATE environments SET paused = %s WHERE id = %s"
    platform.database.rows(pause, True, tenant.environment)
    assert reasons(tenant, run) == [("PAUSED", "queue"), ("PAUSED", "environment")]
    platform.database.rows(pause, False, tenant.environment)
    change(tenant, queue["name"], "pause", action="resume")
    assert reasons(tenant, run) == [("NO_CAPACITY", None)]


def test_an_organizations_limit_names_no_runs_of_other_environments(
    platform: Platform, tenant: Tenant, sibling: Tenant, worker: testing.TestClient, queue: dict[str, str]
) -> None:
    held = begun(tenant, worker, queue=queue)
    limit = "UPDATE organizations SET concurrency_limit = %s WHERE id = %s"
    platform.database.rows(limit, 1, tenant.organization)
    sibling.deploy(["hello"])
    run, own = sibling.trigger(queue=queue), tenant.trigger(queue=queue)
    [cause] = why(sibling, run)["reasons"]
    assert (cause["scope"], cause["limit"], cause["held"], cause["heldBy"]) == ("organization", 1, 1, [])
    [cause] = why(tenant, own)["reasons"]
    assert cause["heldBy"] == [held["run"]["id"]]
    platform.database.rows(limit, None, tenant.organization)
    finish(worker, held)
    assert sibling.client.simulate_post(f"/api/v2/runs/{run}/cancel").status_code == 200


def test_no_version_has_its_task(tenant: Tenant, version: str) -> None:
    run = tenant.trigger("never-deployed")
    assert (why(tenant, run)["status"], reasons(tenant, run)) == ("PENDING_VERSION", [("NO_VERSION", None)])


def test_a_delay_and_a_wait_before_a_retry(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger(delay="1h")
    [cause] = why(tenant, run)["reasons"]
    left = datetime.fromisoformat(cause["until"]) - platform.clock()
    assert cause["reason"] == "DELAYED" and timedelta(minutes=59) < left <= timedelta(hours=1)
    work = begun(tenant, worker)
    platform.database.rows("UPDATE runs SET max_attempts = 3 WHERE id = %s", work["run"]["id"])
    error = {"type": "STRING_ERROR", "raw": "no"}
    outcome = {"ok": False, "error": error, "retry": {"delay": 60_000}}
    ask(worker, wait=None, served=1, completion=completed(work, outcome))
    assert reasons(tenant, work["run"]["id"]) == [("RETRY_LATER", None)]


def test_what_a_run_waits_for(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    wait(worker, work, date(platform, 60))
    [cause] = why(tenant, work["run"]["id"])["reasons"]
    assert (cause["reason"], cause["need"], [each["kind"] for each in cause["waits"]]) == ("WAITPOINTS", "any", ["date"])


def test_what_was_said_when_it_could_not_be_placed(platform: Platform, tenant: Tenant, version: str) -> None:
    run = tenant.trigger()
    order = next_order(platform)
    assert order.run.id == run and reasons(tenant, run) == [("STARTING", None)]
    platform.placing.return_order(order, "no node has 4 GB free", platform.clock())
    [cause] = why(tenant, run)["reasons"]
    assert (cause["reason"], cause["message"]) == ("NO_CAPACITY", "no node has 4 GB free")


def test_a_run_that_the_queue_has_lost(platform: Platform, tenant: Tenant, version: str) -> None:
    run = tenant.trigger()
    platform.redis.flushall()
    assert reasons(tenant, run) == [("NOT_INDEXED", None)]
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert reasons(tenant, run) == [("NO_CAPACITY", None)]


def test_other_environments_runs_are_not_there(tenant: Tenant, sibling: Tenant, stranger: Tenant, version: str) -> None:
    run = tenant.trigger()
    for other, name in ((sibling, run), (stranger, run), (tenant, "run_" + "0" * 26), (tenant, "x")):
        answer = other.client.simulate_get(f"/api/v1/runs/{name}/why")
        assert (answer.status_code, answer.json["code"]) == (404, "RUN_NOT_FOUND")
