"""Where runs are sent: asked for, by their environment, shown, kept by a replay; and whom they are handed to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sojourn.control_plane.api.models.runs import RunReply, RunsReply
from sojourn.control_plane.engine.credentials import ExecutorIdentity
from sojourn.control_plane.store.migrations import migrations
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, connected, executor, next_order
from tests.support.postgres_server import Databases

REGIONS = json.dumps({"eu": {"cluster": "eu-1"}, "gpu": {"node_pool": "gpu"}})
SITES = json.dumps({"prod": {"region": "eu"}})


@pytest.fixture(scope="module")
def platform(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("data")
    with connected(databases, redis_url, data, placement="nomad", regions=REGIONS, nomad_sites=SITES) as made:
        yield made


def region(tenant: Tenant, run: str) -> str:
    wire = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    RunReply.model_validate(wire)
    return str(wire["region"])


def replay(tenant: Tenant, run: str, body: Any = None) -> Any:
    more = {} if body is None else {"json": body}
    return tenant.client.simulate_post(f"/api/v1/runs/{run}/replay", **more)


def test_a_run_goes_where_it_is_told_else_where_its_environment_s_go(tenant: Tenant, sibling: Tenant) -> None:
    assert region(tenant, tenant.trigger()) == "default"
    assert region(tenant, tenant.trigger(region="gpu")) == "gpu"
    assert region(sibling, sibling.trigger()) == "eu"
    assert region(sibling, sibling.trigger(region="default")) == "default"


def test_an_unknown_region_is_refused_with_those_there_are(tenant: Tenant, platform: Platform) -> None:
    before = platform.database.rows("SELECT count(*) AS n FROM runs")
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={"options": {"region": "us"}})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (422, "REGION_UNKNOWN", "options.region")
    assert answer.json["error"] == "there is no region 'us': there are default, eu, gpu"
    assert "SOJOURN_REGIONS" in answer.json["nextStep"]
    assert platform.database.rows("SELECT count(*) AS n FROM runs") == before


@pytest.mark.parametrize("value", ["", 7, ["eu"], "e" * 257, "e\x00u"])
def test_what_is_no_region_s_name_is_refused(tenant: Tenant, value: Any) -> None:
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={"options": {"region": value}})
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")
    assert answer.json["field"] == "options.region"


def test_runs_are_listed_by_region(tenant: Tenant) -> None:
    made = {name: tenant.trigger("listed", region=name) for name in ("default", "eu", "gpu")}

    def listed(regions: str) -> set[str]:
        query = {"filter[region]": regions, "filter[taskIdentifier]": "listed"}
        wire = tenant.client.simulate_get("/api/v1/runs", params=query).json
        RunsReply.model_validate(wire)
        assert {item["region"] for item in wire["data"]} <= set(regions.split(","))
        return {item["id"] for item in wire["data"]}

    assert listed("eu") == {made["eu"]}
    assert listed("eu,default") == {made["eu"], made["default"]}
    assert listed("us") == set()


def test_a_replay_keeps_the_region_unless_it_is_told_another(tenant: Tenant) -> None:
    run = tenant.trigger(region="eu")
    assert region(tenant, replay(tenant, run).json["id"]) == "eu"
    assert region(tenant, replay(tenant, run, {}).json["id"]) == "eu"
    assert region(tenant, replay(tenant, run, {"region": "gpu"}).json["id"]) == "gpu"
    refused = replay(tenant, run, {"region": "us"})
    assert (refused.status_code, refused.json["code"]) == (422, "REGION_UNKNOWN")
    assert replay(tenant, run, {"colour": "red"}).status_code == 400


def test_a_replay_into_a_region_that_is_no_more_says_so(tenant: Tenant, platform: Platform) -> None:
    run = tenant.trigger()
    platform.database.rows("UPDATE runs SET region = 'us' WHERE id = %s", run)
    refused = replay(tenant, run)
    assert (refused.status_code, refused.json["code"]) == (422, "REGION_UNKNOWN")
    assert region(tenant, replay(tenant, run, {"region": "default"}).json["id"]) == "default"


def test_an_executor_gets_runs_of_its_region_alone(tenant: Tenant, platform: Platform) -> None:
    """Warm ones, too: neither the queue nor a hand-over crosses."""
    version = tenant.deploy(["apart"])["id"]
    run = tenant.trigger("apart", region="eu")
    for name, where in (("executor_home", "default"), ("executor_gpu", "gpu")):
        answer = executor(platform, tenant, version, name, where).simulate_post("/worker/v1/next", json={"wait": 0})
        assert "work" not in answer.json
    eu = executor(platform, tenant, version, "executor_eu", "eu")
    work = eu.simulate_post("/worker/v1/next", json={"wait": 5}).json["work"]
    assert (work["run"]["id"], work["run"]["region"]) == (run, "eu")


def test_an_executor_is_placed_for_the_run_s_region(tenant: Tenant, platform: Platform) -> None:
    tenant.deploy(["cold"])
    run = tenant.trigger("cold", region="gpu")
    while (order := next_order(platform)).run.id != run:
        pass
    assert (order.identity.region, order.lane.split("|")[-1]) == ("gpu", "gpu")


def test_a_credential_from_before_regions_is_good_for_the_default_one(platform: Platform) -> None:
    import base64

    identity = {"executor": "e", "organization": "o", "environment": "env", "version": "v", "machine": "micro"}
    body = base64.urlsafe_b64encode(json.dumps(identity).encode()).decode()
    credential = f"{body}.{platform.credentials._sign('executor', body)}"
    assert platform.credentials.executor(credential) == ExecutorIdentity("e", "o", "env", "v", "micro", "default")


def test_what_was_there_before_regions_goes_on_after_an_upgrade(tenant: Tenant, platform: Platform) -> None:
    tenant.deploy(["older"])
    run = tenant.trigger("older")
    database = platform.database
    for table in ("runs", "executors"):
        database.rows(f"ALTER TABLE {table} DROP COLUMN region CASCADE")
    database.rows(next(text for _, text in migrations() if "COLUMN region" in text))
    assert region(tenant, run) == "default"
    while (order := next_order(platform)).run.id != run:
        pass
    assert order.identity.region == "default"
