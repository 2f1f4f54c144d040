"""Queues through the real application: found, paused and limited, with what that does to real dequeues."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from falcon import testing

from sojourn.control_plane.api.models.queues import QueueReply, QueuesReply
from sojourn.control_plane.queue import keys
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, deployment, drained, executor
from tests.contract.api.worker_calls import ask, completed

QUEUES = "/api/v1/queues"
Worker = Callable[[], testing.TestClient]


def path(name: str) -> str:
    """As clients send a name: its slashes first, then the whole of it."""
    return f"{QUEUES}/{quote(name.replace('/', '%2F'), safe='')}"


def find(tenant: Tenant, name: str, kind: str = "custom") -> dict[str, Any]:
    answer = tenant.client.simulate_get(path(name), params={"type": kind})
    assert answer.status_code == 200, answer.text
    QueueReply.model_validate(answer.json)
    return dict(answer.json)


def change(tenant: Tenant, name: str, what: str, kind: str = "custom", **body: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_post(f"{path(name)}/{what}", json={"type": kind, **body})
    assert answer.status_code == 200, answer.text
    QueueReply.model_validate(answer.json)
    return dict(answer.json)


def listed(tenant: Tenant, **query: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_get(QUEUES, params=query)
    assert answer.status_code == 200, answer.text
    QueuesReply.model_validate(answer.json)
    return dict(answer.json)


@pytest.fixture
def new_worker(platform: Platform, tenant: Tenant) -> Worker:
    """Makes executors; nothing else waits for one."""
    version = drained(platform, tenant, "hello")
    return lambda: executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")


@pytest.fixture
def queue(tenant: Tenant) -> str:
    return f"q-{secrets.token_hex(4)}"


def take(worker: testing.TestClient) -> dict[str, Any] | None:
    work: dict[str, Any] | None = ask(worker, wait=0, served=0).get("work")
    return work


def finish(worker: testing.TestClient, work: dict[str, Any]) -> None:
    ask(worker, wait=None, served=1, completion=completed(work, {"ok": True, "output": "1"}))


# --- found


def test_the_sweep_makes_a_wrong_count_good(tenant: Tenant, platform: Platform, queue: str) -> None:
    """As an earlier release's server leaves one behind."""
    tenant.deploy(["hello"])
    tenant.trigger("hello", queue={"name": queue})
    platform.redis.hincrby(f"{keys.prefix(tenant.organization)}waiting", keys.within(tenant.environment, queue), 3)
    assert find(tenant, queue)["queued"] == 4
    for _ in range(100):  # some of all queues each time
        platform.recovery.sweep(tenant.organization, platform.clock())
        if find(tenant, queue)["queued"] != 4:
            break
    assert find(tenant, queue)["queued"] == 1


def test_a_tasks_own_queue_is_found_by_the_task_or_by_its_id(tenant: Tenant) -> None:
    tenant.deploy(["hello", "mail/send"])
    found = find(tenant, "mail/send", "task")
    assert (found["name"], found["type"], found["paused"]) == ("mail/send", "task", False)
    assert (found["running"], found["queued"], found["concurrencyLimit"]) == (0, 0, None)
    assert found["concurrency"] == dict.fromkeys(("current", "base", "override", "overriddenAt", "overriddenBy"))
    assert tenant.client.simulate_get(f"{QUEUES}/{found['id']}").json == found
    assert tenant.client.simulate_get(f"{QUEUES}/mail%2Fsend", params={"type": "task"}).json == found


def test_a_queue_is_there_once_a_run_has_named_it(tenant: Tenant, sibling: Tenant, queue: str) -> None:
    name = f"{queue}/run_time"
    assert tenant.client.simulate_get(path(name), params={"type": "custom"}).status_code == 404
    for _ in range(2):
        tenant.trigger(queue={"name": name})
    found = find(tenant, name)
    assert (found["name"], found["type"], found["running"], found["queued"]) == (name, "custom", 0, 2)
    assert sibling.client.simulate_get(path(name), params={"type": "custom"}).status_code == 404


def test_what_runs_and_what_waits_is_counted_over_keys(tenant: Tenant, new_worker: Worker, queue: str) -> None:
    worker = new_worker()
    for key in ("a", "a", "b"):
        tenant.trigger(queue={"name": queue}, concurrencyKey=key)
    tenant.trigger(queue={"name": queue})
    assert (find(tenant, queue)["running"], find(tenant, queue)["queued"]) == (0, 4)
    work = take(worker)
    assert work
    assert (find(tenant, queue)["running"], find(tenant, queue)["queued"]) == (1, 3)
    finish(worker, work)
    assert (find(tenant, queue)["running"], find(tenant, queue)["queued"]) == (0, 3)


def test_queues_come_in_pages_by_their_names(stranger: Tenant) -> None:
    stranger.deploy(["c", "a", "b"])
    first, second = listed(stranger, page=1, perPage=2), listed(stranger, page=2, perPage=2)
    assert [each["name"] for each in first["data"] + second["data"]] == ["a", "b", "c"]
    assert first["pagination"] == {"currentPage": 1, "totalPages": 2, "count": 3}
    assert listed(stranger, page=9)["data"] == []
    assert len(listed(stranger, perPage=5_000)["data"]) == 3


# --- not found, and not understood


def test_other_environments_queues_are_not_there(tenant: Tenant, sibling: Tenant, stranger: Tenant, queue: str) -> None:
    tenant.trigger(queue={"name": queue})
    found = find(tenant, queue)
    bodies: dict[str, dict[str, Any]]
    bodies = {"pause": {"action": "pause"}, "concurrency/override": {"concurrencyLimit": 1}, "concurrency/reset": {}}
    for other in (sibling, stranger):
        for name, kind in ((found["id"], "id"), (queue, "custom"), (queue, "task")):
            answers = [other.client.simulate_get(path(name), params={"type": kind})]
            answers += [
                other.client.simulate_post(f"{path(name)}/{what}", json={"type": kind, **body})
                for what, body in bodies.items()
            ]
            assert {(each.status_code, each.json["code"]) for each in answers} == {(404, "QUEUE_NOT_FOUND")}
    assert find(tenant, queue) == found


@pytest.mark.parametrize("name", ["queue_x", "queue_" + "0" * 26, "x" * 1_000, "%00", "%01", "é", "%25"])
def test_what_names_no_queue(tenant: Tenant, name: str) -> None:
    for kind in ("id", "task", "custom"):
        answer = tenant.client.simulate_get(f"{QUEUES}/{quote(name, safe='%')}", params={"type": kind})
        assert (answer.status_code, answer.json["code"]) == (404, "QUEUE_NOT_FOUND")


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        ("pause", {}, "action"),
        ("pause", {"action": "stop"}, "action"),
        ("pause", {"action": "pause", "type": "named"}, "type"),
        ("concurrency/override", {}, None),
        ("concurrency/override", {"concurrencyLimit": 1, "percent": 1}, None),
        ("concurrency/override", {"concurrencyLimit": -1}, "concurrencyLimit"),
        ("concurrency/override", {"concurrencyLimit": 100_001}, "concurrencyLimit"),
        ("concurrency/override", {"concurrencyLimit": 1.5}, "concurrencyLimit"),
        ("concurrency/override", {"percent": 0}, "percent"),
        ("concurrency/override", {"percent": 101}, "percent"),
        ("concurrency/reset", {"all": True}, "all"),
    ],
)
def test_bodies_that_make_no_sense(tenant: Tenant, queue: str, what: str, body: dict[str, Any], field: str | None) -> None:
    answer = tenant.client.simulate_post(f"{path(queue)}/{what}", json={"type": "custom", **body})
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")
    assert field is None or answer.json["field"] == field


@pytest.mark.parametrize("query", [{"page": 0}, {"page": "x"}, {"perPage": 0}, {"page": 10**9}, {"size": 3}])
def test_pages_that_make_no_sense(tenant: Tenant, query: dict[str, Any]) -> None:
    answer = tenant.client.simulate_get(QUEUES, params=query)
    assert (answer.status_code, answer.json["code"]) == (400, "QUERY_INVALID")


# --- paused


def test_a_paused_queue_gives_no_run_until_it_goes_on(tenant: Tenant, new_worker: Worker, queue: str) -> None:
    worker = new_worker()
    tenant.trigger(queue={"name": queue})
    begun = take(worker)
    assert begun
    assert change(tenant, queue, "pause", action="pause")["paused"] is True
    run = tenant.trigger(queue={"name": queue})
    other = new_worker()
    assert take(other) is None
    finish(worker, begun)  # what runs is not touched
    assert (find(tenant, queue)["running"], find(tenant, queue)["queued"]) == (0, 1)
    assert change(tenant, queue, "pause", action="resume")["paused"] is False
    work = take(other)
    assert work and work["run"]["id"] == run
    finish(other, work)


def test_a_pause_outlives_the_loss_of_the_queue(platform: Platform, tenant: Tenant, new_worker: Worker, queue: str) -> None:
    worker = new_worker()
    tenant.trigger(queue={"name": queue})
    change(tenant, queue, "pause", action="pause")
    platform.redis.flushall()
    assert platform.recovery.sweep(tenant.organization, platform.clock()).rebuilt == 1
    assert take(worker) is None
    change(tenant, queue, "pause", action="resume")
    work = take(worker)
    assert work
    finish(worker, work)


def test_a_pause_that_never_reached_the_queue_is_made_so_by_the_sweep(
    platform: Platform, tenant: Tenant, new_worker: Worker, queue: str
) -> None:
    worker = new_worker()
    tenant.trigger(queue={"name": queue})
    platform.database.rows("UPDATE queues SET paused = true WHERE name = %s", queue)
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert take(worker) is None
    change(tenant, queue, "pause", action="resume")
    work = take(worker)
    assert work
    finish(worker, work)


def test_nothing_is_told_of_a_queue_that_was_lost(platform: Platform, tenant: Tenant, queue: str) -> None:
    tenant.trigger(queue={"name": queue})
    platform.redis.flushall()
    answer = tenant.client.simulate_get(path(queue), params={"type": "custom"})
    assert (answer.status_code, answer.json["code"]) == (503, "ENGINE_ERROR")
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert find(tenant, queue)["queued"] == 1


# --- limited


def test_a_lower_limit_holds_for_each_key(tenant: Tenant, new_worker: Worker, queue: str) -> None:
    first, second, third = new_worker(), new_worker(), new_worker()
    for key in ("a", "a", "b"):
        tenant.trigger(queue={"name": queue}, concurrencyKey=key)
    shown = change(tenant, queue, "concurrency/override", concurrencyLimit=1)
    assert (shown["concurrencyLimit"], shown["concurrency"]["base"], shown["concurrency"]["override"]) == (1, None, 1)
    assert shown["concurrency"]["overriddenAt"]
    a, b = take(first), take(second)
    assert a and b and take(third) is None
    shown = change(tenant, queue, "concurrency/reset")
    assert shown["concurrencyLimit"] is None and shown["concurrency"]["overriddenAt"] is None
    again = take(third)
    assert again
    for worker, work in ((first, a), (second, b), (third, again)):
        finish(worker, work)


def test_a_limit_stays_over_a_deployment_and_goes_back_to_what_that_declares(tenant: Tenant, queue: str) -> None:
    def deploy(limit: int) -> None:
        body = deployment(["hello"], f"{queue} {limit}")
        body["manifest"]["queues"] = [{"name": queue, "concurrencyLimit": limit}]
        assert tenant.client.simulate_post("/api/v1/deployments", json=body).status_code == 200

    deploy(7)
    assert find(tenant, queue)["concurrencyLimit"] == 7
    change(tenant, queue, "concurrency/override", concurrencyLimit=3)
    deploy(9)
    shown = find(tenant, queue)
    assert (shown["concurrencyLimit"], shown["concurrency"]["base"]) == (3, 9)
    assert change(tenant, queue, "concurrency/reset")["concurrencyLimit"] == 9
    answer = tenant.client.simulate_post(f"{path(queue)}/concurrency/reset", json={"type": "custom"})
    assert (answer.status_code, answer.json["code"]) == (400, "QUEUE_NOT_OVERRIDDEN")


def test_a_percentage_follows_the_environments_limit(platform: Platform, tenant: Tenant, queue: str) -> None:
    tenant.trigger(queue={"name": queue})
    shown = change(tenant, queue, "concurrency/override", percent=2.5)
    assert (shown["concurrencyLimit"], shown["concurrencyLimitOverridePercent"]) == (2, 2.5)
    resize = "UPDATE environments SET concurrency_limit = %s WHERE id = %s"
    platform.database.rows(resize, 10, tenant.environment)
    assert find(tenant, queue)["concurrencyLimit"] == 1, "never less"
    answer = tenant.client.simulate_post(
        f"{path(queue)}/concurrency/override", json={"type": "custom", "concurrencyLimit": 11}
    )
    assert (answer.status_code, answer.json["code"]) == (400, "QUEUE_LIMIT_TOO_HIGH")
    platform.database.rows(resize, 100, tenant.environment)
    assert change(tenant, queue, "concurrency/override", concurrencyLimit=100)["concurrency"]["override"] == 100
