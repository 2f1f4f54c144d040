"""Versions: listed, retrieved, and made current again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sojourn.control_plane.api.models.deployments import DeploymentDetailReply, DeploymentsReply
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, deployment

PATH = "/api/v1/deployments"


@pytest.fixture(scope="module")
def made(tenant: Tenant, stranger: Tenant) -> list[dict[str, Any]]:
    stranger.deploy(["theirs"])
    return [tenant.deploy(["hello"], "one"), tenant.deploy(["hello", "more"], "two"), tenant.deploy(["hello"], "three")]


def test_the_list(tenant: Tenant, made: list[dict[str, Any]]) -> None:
    newest = [each["id"] for each in made][::-1]
    first = tenant.client.simulate_get(PATH, params={"page[size]": "2"}).json
    DeploymentsReply.model_validate(first)
    assert [each["id"] for each in first["data"]] == newest[:2]
    query = {"page[size]": "2", "page[after]": first["pagination"]["next"]}
    second = tenant.client.simulate_get(PATH, params=query).json
    assert [each["id"] for each in second["data"]] == newest[2:] and second["pagination"] == {}
    for params, expected in (
        ({"status": "DEPLOYED"}, newest),
        ({"status": "FAILED,CANCELED"}, []),
        ({"period": "1h"}, newest),
        ({"to": "2020-01-01"}, []),
        ({"from": "2020-01-01"}, newest),
    ):
        answer = tenant.client.simulate_get(PATH, params=params).json
        assert [each["id"] for each in answer["data"]] == expected, params
    answer = tenant.client.simulate_get(PATH, params={"from": "soon"})
    assert (answer.status_code, answer.json["field"]) == (400, "from")


def test_one_by_its_id_or_number(tenant: Tenant, stranger: Tenant, made: list[dict[str, Any]]) -> None:
    for name in (made[1]["id"], made[1]["version"]):
        found = tenant.client.simulate_get(f"{PATH}/{name}").json
        DeploymentDetailReply.model_validate(found)
        assert (found["id"], found["status"]) == (made[1]["id"], "DEPLOYED")
        assert sorted(task["slug"] for task in found["worker"]["tasks"]) == ["hello", "more"]
    for client, name in (
        (stranger.client, made[1]["id"]),
        (tenant.client, "20200101.1"),
        (tenant.client, "%00"),
        (tenant.client, "x"),
    ):
        answer = client.simulate_get(f"{PATH}/{name}")
        assert (answer.status_code, answer.json["code"]) == (404, "DEPLOYMENT_NOT_FOUND")


def test_going_back_and_forth(tenant: Tenant, stranger: Tenant, made: list[dict[str, Any]]) -> None:
    def current() -> str:
        return str(tenant.client.simulate_get(f"{PATH}/current").json["version"])

    older, newer = made[1]["version"], made[2]["version"]
    refused = tenant.client.simulate_post(f"{PATH}/{older}/promote")
    assert (refused.status_code, refused.json["code"], current()) == (400, "DEPLOYMENT_OLDER", newer)
    done = tenant.client.simulate_post(f"{PATH}/{older}/promote", params={"allowRollbacks": "true"})
    assert (done.status_code, done.json["version"], current()) == (200, older, older)
    assert tenant.client.simulate_post(f"{PATH}/{newer}/promote").json["id"] == made[2]["id"]
    assert current() == newer
    assert tenant.client.simulate_post(f"{PATH}/{newer}/promote").status_code == 200
    for client, name in ((tenant.client, "20200101.1"), (stranger.client, older)):
        assert client.simulate_post(f"{PATH}/{name}/promote").status_code == 404


def test_runs_that_wait_for_a_version_are_let_go_by_going_back(tenant: Tenant, platform: Platform) -> None:
    has_it = tenant.deploy(["waited-for"], "a")
    tenant.deploy(["hello"], "b")
    run = tenant.trigger("waited-for")
    found = platform.runs.any(run)
    assert found and found.status == "PENDING_VERSION"
    tenant.client.simulate_post(f"{PATH}/{has_it['version']}/promote", params={"allowRollbacks": "true"})
    found = platform.runs.any(run)
    assert found and found.status == "QUEUED"


def test_schedules_are_those_of_the_version_that_is_current(tenant: Tenant) -> None:
    body = deployment(["ticks"], "with")
    body["manifest"]["tasks"][0]["schedule"] = {"cron": "0 9 * * *"}
    answer = tenant.client.simulate_post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    with_it = answer.json

    def declared() -> int:
        return len(tenant.client.simulate_get("/api/v1/schedules").json["data"])

    assert declared() == 1
    tenant.deploy(["hello"], "without")
    assert declared() == 0
    tenant.client.simulate_post(f"{PATH}/{with_it['version']}/promote", params={"allowRollbacks": "true"})
    assert declared() == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("1e999", "a number that is too large"),
        ('{"a": [-1e400]}', "a number that is too large"),
        (r'"a\u0000"', "a NUL character"),
        (r'{"\\\u0000": 1}', "a NUL character"),
        (r'"\ud800"', "half of a surrogate pair"),
        (r'"\\u0000 \ud83d\ude00"', None),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused(tenant: Tenant, value: str, says: str | None) -> None:
    body = deployment(["schemed"])
    body["manifest"]["tasks"][0]["payloadSchema"] = {"title": "HERE"}
    text = json.dumps(body).replace('"HERE"', value)
    answer = tenant.client.simulate_post(PATH, body=text, headers={"Content-Type": "application/json"})
    if says is None:
        assert answer.status_code == 200
        return
    assert (answer.status_code, answer.json["field"]) == (422, "manifest.tasks.0.payloadSchema"), answer.text
    assert says in answer.json["error"]
