"""Idempotency keys that are freed, and delayed runs that are given another date, through the real application."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from falcon import testing

from sojourn.control_plane.api.models.runs import RunReply
from sojourn.control_plane.api.models.shape import IdReply
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.store.runs import Move
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, drained
from tests.contract.api.test_queues import finish, take


def reset(tenant: Tenant, key: str, task: str = "hello") -> testing.Result:
    path = f"/api/v1/idempotencyKeys/{quote(key, safe='')}/reset"
    return tenant.client.simulate_post(path, json={"taskIdentifier": task})


def reschedule(tenant: Tenant, run: str, **body: Any) -> testing.Result:
    return tenant.client.simulate_post(f"/api/v1/runs/{run}/reschedule", json=body)


def retrieve(tenant: Tenant, run: str) -> dict[str, Any]:
    return dict(tenant.client.simulate_get(f"/api/v3/runs/{run}").json)


@pytest.fixture
def version(platform: Platform, tenant: Tenant) -> str:
    return drained(platform, tenant, "hello", "other")


@pytest.fixture
def key() -> str:
    return f"order/{secrets.token_hex(4)} é"


# --- keys


def test_a_key_that_was_freed_makes_another_run(tenant: Tenant, worker: testing.TestClient, key: str) -> None:
    first = tenant.trigger(idempotencyKey=key)
    assert tenant.trigger(idempotencyKey=key) == first
    answer = reset(tenant, key)
    assert (answer.status_code, answer.json) == (200, {"id": key})
    IdReply.model_validate(answer.json)
    second = tenant.trigger(idempotencyKey=key)
    assert second != first and tenant.trigger(idempotencyKey=key) == second
    assert "idempotencyKey" not in retrieve(tenant, first)


def test_a_key_of_a_run_that_is_over_is_freed_too(tenant: Tenant, worker: testing.TestClient, key: str) -> None:
    run = tenant.trigger(idempotencyKey=key)
    work = take(worker)
    assert work
    finish(worker, work)
    assert retrieve(tenant, run)["status"] == "COMPLETED"
    assert reset(tenant, key).status_code == 200
    assert tenant.trigger(idempotencyKey=key) != run


def test_a_key_that_nobody_holds(tenant: Tenant, sibling: Tenant, stranger: Tenant, key: str) -> None:
    run = tenant.trigger(idempotencyKey=key)
    wrong = [reset(tenant, key, "other"), reset(tenant, key + "x"), reset(sibling, key), reset(stranger, key)]
    wrong += [reset(tenant, "x" * 3_000), reset(tenant, "a\x00b")]
    assert {(each.status_code, each.json["code"]) for each in wrong} == {(404, "IDEMPOTENCY_KEY_NOT_FOUND")}
    assert tenant.trigger(idempotencyKey=key) == run
    assert [reset(tenant, key).status_code for _ in range(2)] == [200, 404]


@pytest.mark.parametrize("body", [{}, {"taskIdentifier": ""}, {"taskIdentifier": 1}, {"taskIdentifier": "a", "x": 1}])
def test_whose_key_must_be_said(tenant: Tenant, key: str, body: dict[str, Any]) -> None:
    answer = tenant.client.simulate_post(f"/api/v1/idempotencyKeys/{quote(key, safe='')}/reset", json=body)
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")


# --- dates


def test_a_delayed_run_starts_at_its_new_date(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger(delay="1h", ttl="10m")
    answer = reschedule(tenant, run, delay="3h")
    assert answer.status_code == 200, answer.text
    RunReply.model_validate(answer.json)
    left = datetime.fromisoformat(answer.json["delayedUntil"]) - platform.clock()
    assert answer.json["status"] == "DELAYED" and timedelta(hours=2) < left <= timedelta(hours=3)
    platform.expiring.queue_due(platform.clock() + timedelta(hours=2), 100)
    assert retrieve(tenant, run)["status"] == "DELAYED"
    assert reschedule(tenant, run, delay="2020-01-01T00:00:00Z").status_code == 200
    platform.expiring.queue_due(platform.clock(), 100)
    work = take(worker)
    assert work and work["run"]["id"] == run
    finish(worker, work)
    events = [row.event for row in platform.runs.history(run)]
    assert events[:4] == ["TRIGGER_DELAYED", "RESCHEDULE", "RESCHEDULE", "DUE"]


def test_a_stager_that_has_seen_the_old_date_is_late(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    run = tenant.trigger(delay="1h")
    seen = platform.runs.find(tenant.environment, run)
    assert seen
    assert reschedule(tenant, run, delay="2h").status_code == 200
    assert platform.runs.move(Move(run, seen.snapshot, Event.DUE, platform.clock())) is None
    assert retrieve(tenant, run)["status"] == "DELAYED"


def test_only_runs_that_are_delayed_are_given_a_date(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    run = tenant.trigger()
    answers = [reschedule(tenant, run, delay="1h")]
    work = take(worker)
    assert work
    answers.append(reschedule(tenant, run, delay="1h"))
    finish(worker, work)
    answers.append(reschedule(tenant, run, delay="1h"))
    answers.append(reschedule(tenant, tenant.trigger("never-deployed", delay="1h"), delay="2h"))
    assert {(each.status_code, each.json["code"]) for each in answers} == {(400, "RUN_NOT_DELAYED")}


@pytest.mark.parametrize("delay", ["", "soon", "11w 2d", "99999d", 5, None, "2026-13-01"])
def test_dates_that_make_no_sense(tenant: Tenant, worker: testing.TestClient, delay: Any) -> None:
    answer = reschedule(tenant, tenant.trigger(delay="1h"), delay=delay)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "BODY_INVALID", "delay")


def test_other_environments_runs_are_not_given_a_date(tenant: Tenant, sibling: Tenant, stranger: Tenant) -> None:
    run = tenant.trigger(delay="1h")
    for other, name in ((sibling, run), (stranger, run), (tenant, "run_" + "0" * 26), (tenant, "x")):
        answer = reschedule(other, name, delay="2h")
        assert (answer.status_code, answer.json["code"]) == (404, "RUN_NOT_FOUND")
