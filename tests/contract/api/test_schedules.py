"""Schedules through the real application: made, changed, read, switched, declared by deployments, each tenant's own."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.api.encoding import timestamp
from sojourn.control_plane.api.models.runs import RunReply
from sojourn.control_plane.api.models.schedules import BackfilledReply, ScheduleReply, SchedulesReply, TimezonesReply
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, deployment

SCHEDULES = "/api/v1/schedules"
NO_SUCH = "sched_" + "0" * 26


@pytest.fixture(autouse=True, scope="module")
def deployed(tenant: Tenant, sibling: Tenant, stranger: Tenant) -> None:
    for each in (tenant, sibling, stranger):
        each.deploy(["report", "other"])


def asked(**more: Any) -> dict[str, Any]:
    return {"task": "report", "cron": "30 8 * * 1-5", "deduplicationKey": secrets.token_hex(4)} | more


def read(answer: testing.Result) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    ScheduleReply.model_validate(answer.json)
    return dict(answer.json)


def create(tenant: Tenant, **more: Any) -> dict[str, Any]:
    return read(tenant.client.simulate_post(SCHEDULES, json=asked(**more)))


def retrieve(tenant: Tenant, schedule: dict[str, Any]) -> dict[str, Any]:
    return read(tenant.client.simulate_get(f"{SCHEDULES}/{schedule['id']}"))


def update(tenant: Tenant, schedule: dict[str, Any], **body: Any) -> testing.Result:
    return tenant.client.simulate_put(f"{SCHEDULES}/{schedule['id']}", json=body)


def listed(tenant: Tenant, **query: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_get(SCHEDULES, params=query)
    assert answer.status_code == 200, answer.text
    SchedulesReply.model_validate(answer.json)
    return dict(answer.json)


def refused(answer: testing.Result) -> tuple[int, str, str | None]:
    return answer.status_code, answer.json["code"], answer.json.get("field")


# --- made


def test_a_schedule_is_made_and_retrieved(tenant: Tenant) -> None:
    made = create(tenant, timezone="Europe/Berlin", externalId="customer-7", deduplicationKey="weekdays")
    assert made["id"].startswith("sched_") and made["type"] == "IMPERATIVE" and made["active"] is True
    assert made["generator"] == {
        "type": "CRON", "expression": "30 8 * * 1-5", "description": "At 08:30 on Monday to Friday",
    }  # fmt: skip
    assert (made["task"], made["timezone"], made["externalId"]) == ("report", "Europe/Berlin", "customer-7")
    assert (made["deduplicationKey"], made["overlap"], made["catchUp"]) == ("weekdays", "allow", "last")
    assert made["environments"] == [{"id": tenant.environment, "type": "DEVELOPMENT"}]
    assert made["nextRun"] == made["nextRunEffectiveAt"] and "lastRun" not in made and "window" not in made
    assert retrieve(tenant, made) == made


def test_the_same_key_changes_the_schedule(platform: Platform, tenant: Tenant) -> None:
    made = create(tenant, deduplicationKey="again", externalId="a")
    changed = create(tenant, deduplicationKey="again", cron="0 0 1 1 *", task="other")
    assert changed["id"] == made["id"] and (changed["task"], "externalId" in changed) == ("other", False)
    assert changed["nextRun"].endswith("-01-01T00:00:00.000Z")
    assert retrieve(tenant, made) == changed


def test_one_key_asked_for_by_many_at_once(platform: Platform, tenant: Tenant) -> None:
    before = listed(tenant)["pagination"]["count"]
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda n: create(tenant, deduplicationKey="many", externalId=str(n)), range(20)))
    assert len({each["id"] for each in made}) == 1
    assert listed(tenant)["pagination"]["count"] == before + 1


def test_a_key_is_an_environments_own(tenant: Tenant, sibling: Tenant) -> None:
    assert create(tenant, deduplicationKey="mine")["id"] != create(sibling, deduplicationKey="mine")["id"]


def test_a_window_delays_the_run_and_not_the_tick(platform: Platform, tenant: Tenant) -> None:
    made = create(tenant, cron="0 0 * * *", window="6h")
    nominal, effective = (datetime.fromisoformat(made[name]) for name in ("nextRun", "nextRunEffectiveAt"))
    assert made["window"] == "6h" and timedelta(0) <= effective - nominal < timedelta(hours=6)
    other = create(tenant, cron="0 0 * * *", window="6h")
    assert other["nextRun"] == made["nextRun"] and other["nextRunEffectiveAt"] != made["nextRunEffectiveAt"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": "*/0 * * * *"}, "cron"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"window": "25h"}, "window"),
        ({"window": "101%"}, "window"),
        ({"window": "05m"}, "window"),
        ({"window": "30s"}, "window"),
        ({"task": "nowhere"}, "task"),
    ],
)
def test_what_makes_no_schedule(tenant: Tenant, more: dict[str, Any], field: str) -> None:
    before = listed(tenant)["pagination"]["count"]
    assert refused(tenant.client.simulate_post(SCHEDULES, json=asked(**more))) == (422, "SCHEDULE_INVALID", field)
    assert listed(tenant)["pagination"]["count"] == before


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"cron": 5}, "cron"),
        ({"cron": ",".join(["1"] * 5_000) + " * * * *"}, "cron"),
        ({"deduplicationKey": ""}, "deduplicationKey"),
        ({"deduplicationKey": "a\x00b"}, "deduplicationKey"),
        ({"externalId": 7}, "externalId"),
        ({"overlap": "never"}, "overlap"),
        ({"catchUp": "some"}, "catchUp"),
        ({"active": False}, "active"),
        ({"nextRun": "2026-01-01"}, "nextRun"),
    ],
)
def test_bodies_that_are_none(tenant: Tenant, more: dict[str, Any], field: str) -> None:
    assert refused(tenant.client.simulate_post(SCHEDULES, json=asked(**more))) == (400, "BODY_INVALID", field)


@pytest.mark.parametrize("field", ["task", "cron", "deduplicationKey"])
def test_what_is_needed(tenant: Tenant, field: str) -> None:
    body = {name: value for name, value in asked().items() if name != field}
    assert refused(tenant.client.simulate_post(SCHEDULES, json=body)) == (400, "BODY_INVALID", field)


# --- changed


def test_a_schedule_is_changed(tenant: Tenant) -> None:
    made = create(tenant, externalId="a", window="10%")
    changed = read(update(tenant, made, task="other", cron="0 0 1 1 *", timezone="UTC", overlap="skip", catchUp="all"))
    assert (changed["id"], changed["deduplicationKey"]) == (made["id"], made["deduplicationKey"])
    assert (changed["task"], changed["overlap"], changed["catchUp"]) == ("other", "skip", "all")
    assert "externalId" not in changed and "window" not in changed
    assert changed["nextRun"].endswith("-01-01T00:00:00.000Z")
    assert retrieve(tenant, made) == changed


def test_what_changes_nothing_of_when_leaves_the_next_tick(platform: Platform, tenant: Tenant) -> None:
    made = create(tenant, cron="* * * * *")
    platform.database.rows("UPDATE schedules SET next_tick = '2026-01-01', due_at = '2026-01-01' WHERE id = %s", made["id"])
    kept = read(update(tenant, made, task="report", cron="* * * * *", externalId="b"))
    assert kept["nextRun"] == "2026-01-01T00:00:00.000Z"
    moved = read(update(tenant, made, task="report", cron="*/2 * * * *", externalId="b"))
    assert moved["nextRun"] > kept["nextRun"]


def test_a_key_cannot_be_changed(tenant: Tenant) -> None:
    answer = update(tenant, create(tenant), task="report", cron="* * * * *", deduplicationKey="x")
    assert refused(answer) == (400, "BODY_INVALID", "deduplicationKey")


def test_a_schedule_is_switched_off_and_on(tenant: Tenant) -> None:
    made = create(tenant)
    path = f"{SCHEDULES}/{made['id']}"
    off = read(tenant.client.simulate_post(f"{path}/deactivate"))
    assert off["active"] is False and "nextRun" not in off and "nextRunEffectiveAt" not in off
    assert read(tenant.client.simulate_post(f"{path}/deactivate")) == off
    changed = read(update(tenant, made, task="report", cron="0 0 1 1 *"))
    assert changed["active"] is False and "nextRun" not in changed
    on = read(tenant.client.simulate_post(f"{path}/activate"))
    assert on["active"] is True and on["nextRun"].endswith("-01-01T00:00:00.000Z")
    assert read(tenant.client.simulate_post(f"{path}/activate")) == on


def test_a_schedule_is_deleted(tenant: Tenant) -> None:
    made = create(tenant)
    path = f"{SCHEDULES}/{made['id']}"
    assert tenant.client.simulate_delete(path).json == {"id": made["id"]}
    assert refused(tenant.client.simulate_get(path)) == (404, "SCHEDULE_NOT_FOUND", None)
    assert refused(tenant.client.simulate_delete(path)) == (404, "SCHEDULE_NOT_FOUND", None)


# --- read


def test_pages(stranger: Tenant) -> None:
    made = sorted(create(stranger)["id"] for _ in range(5))  # those of one millisecond have no other order than their ids'
    first = listed(stranger, perPage=2)
    assert [each["id"] for each in first["data"]] == made[:2:-1]
    assert first["pagination"] == {"currentPage": 1, "totalPages": 3, "count": 5}
    assert [each["id"] for each in listed(stranger, perPage=2, page=3)["data"]] == made[:1]
    assert listed(stranger, page=9)["data"] == []
    assert len(listed(stranger, perPage=5_000)["data"]) == 5
    for query in ({"page": 0}, {"perPage": 0}, {"page": "x"}, {"size": 1}):
        assert refused(stranger.client.simulate_get(SCHEDULES, params=query))[:2] == (400, "QUERY_INVALID")


def test_another_tenants_schedule_is_not_there(tenant: Tenant, stranger: Tenant, sibling: Tenant) -> None:
    made = create(tenant)
    body = {"task": "report", "cron": "* * * * *"}
    span = {"from": "2026-01-01", "to": "2026-01-02"}
    for other in (stranger, sibling):
        assert made["id"] not in [each["id"] for each in listed(other, perPage=100)["data"]]
        for schedule in (made["id"], NO_SUCH, "sched_x", "x"):
            path = f"{SCHEDULES}/{schedule}"
            for answer in (
                other.client.simulate_get(path),
                other.client.simulate_put(path, json=body),
                other.client.simulate_delete(path),
                other.client.simulate_post(f"{path}/activate"),
                other.client.simulate_post(f"{path}/deactivate"),
                other.client.simulate_post(f"{path}/backfill", json=span),
            ):
                assert refused(answer) == (404, "SCHEDULE_NOT_FOUND", None)
    assert retrieve(tenant, made) == made


def test_nobody_without_a_key(anonymous: testing.TestClient) -> None:
    assert refused(anonymous.simulate_get(SCHEDULES))[:2] == (401, "UNAUTHORIZED")


def test_timezones_are_for_everybody(anonymous: testing.TestClient) -> None:
    answer = anonymous.simulate_get("/api/v1/timezones")
    TimezonesReply.model_validate(answer.json)
    names = answer.json["timezones"]
    assert names[0] == "UTC" and "Europe/Berlin" in names
    without = anonymous.simulate_get("/api/v1/timezones", params={"excludeUtc": "true"}).json["timezones"]
    assert without == names[1:]


# --- declared by what is deployed


def deploy(tenant: Tenant, **schedules: Any) -> testing.Result:
    body = deployment([*schedules, "report"], source=secrets.token_hex(4))
    for task in body["manifest"]["tasks"]:
        if schedules.get(task["id"]) is not None:
            task["schedule"] = schedules[task["id"]]
    return tenant.client.simulate_post("/api/v1/deployments", json=body)


def declared(tenant: Tenant) -> dict[str, dict[str, Any]]:
    found = listed(tenant, perPage=100)["data"]
    return {each["task"]: each for each in found if each["type"] == "DECLARATIVE"}


def test_a_deployment_makes_changes_and_removes_what_it_declares(sibling: Tenant) -> None:
    imperative = create(sibling)
    berlin = {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "window": "30m", "overlap": "skip", "catchUp": "none"}
    assert deploy(sibling, nightly={"cron": "0 0 * * *"}, morning=berlin, plain=None).status_code == 200
    first = declared(sibling)
    assert set(first) == {"nightly", "morning"}
    assert (first["morning"]["timezone"], first["morning"]["window"]) == ("Europe/Berlin", "30m")
    assert (first["morning"]["overlap"], first["morning"]["catchUp"]) == ("skip", "none")
    assert all("deduplicationKey" not in each and each["nextRun"] for each in first.values())
    assert deploy(sibling, nightly={"cron": "0 1 * * *"}, plain={"cron": "0 2 * * *"}).status_code == 200
    second = declared(sibling)
    assert set(second) == {"nightly", "plain"}
    assert second["nightly"]["id"] == first["nightly"]["id"]
    assert second["nightly"]["generator"]["expression"] == "0 1 * * *"
    assert retrieve(sibling, imperative) == imperative


def test_one_that_is_declared_again_keeps_its_next_tick_and_stays_switched_off(sibling: Tenant) -> None:
    deploy(sibling, nightly={"cron": "0 0 * * *"}, hourly={"cron": "0 * * * *"})
    before = declared(sibling)
    read(sibling.client.simulate_post(f"{SCHEDULES}/{before['hourly']['id']}/deactivate"))
    deploy(sibling, nightly={"cron": "0 0 * * *"}, hourly={"cron": "5 * * * *"})
    after = declared(sibling)
    assert after["nightly"] == before["nightly"]
    assert after["hourly"]["active"] is False and after["hourly"]["generator"]["expression"] == "5 * * * *"
    read(sibling.client.simulate_post(f"{SCHEDULES}/{before['hourly']['id']}/activate"))


def test_the_same_code_with_another_schedule_is_another_version(tenant: Tenant) -> None:
    body = deployment(["nightly"], source="same")
    body["manifest"]["tasks"][0]["schedule"] = {"cron": "0 0 * * *"}

    def cached() -> bool:
        return bool(tenant.client.simulate_post("/api/v1/deployments", json=body).json["isCached"])

    assert [cached(), cached()] == [False, True]
    body["manifest"]["tasks"][0]["schedule"] = {"cron": "0 1 * * *"}
    assert [cached(), cached()] == [False, True]
    assert declared(tenant)["nightly"]["generator"]["expression"] == "0 1 * * *"
    tenant.deploy(["report", "other"], "after")


def test_environments_of_another_kind_declare_nothing(tenant: Tenant, sibling: Tenant) -> None:
    schedule = {"cron": "0 0 * * *", "environments": ["PRODUCTION", "STAGING"]}
    deploy(tenant, production=schedule, other=None)
    deploy(sibling, production=schedule, other=None)
    assert "production" in declared(sibling) and "production" not in declared(tenant)


def test_what_code_declares_is_changed_in_code(sibling: Tenant) -> None:
    deploy(sibling, nightly={"cron": "0 0 * * *"})
    nightly = declared(sibling)["nightly"]
    refusal = (422, "SCHEDULE_DECLARED", None)
    assert refused(update(sibling, nightly, task="nightly", cron="* * * * *")) == refusal
    assert refused(sibling.client.simulate_delete(f"{SCHEDULES}/{nightly['id']}")) == refusal
    assert declared(sibling)["nightly"] == nightly


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        ("0 0 * * *", ""),
        ({}, ".cron"),
        ({"cron": "0 0 31 2 *"}, ".cron"),
        ({"cron": 7}, ".cron"),
        ({"cron": "0 0 * * *", "timezone": "CEST"}, ".timezone"),
        ({"cron": "0 0 * * *", "window": "2d"}, ".window"),
        ({"cron": "0 0 * * *", "overlap": "never"}, ".overlap"),
        ({"cron": "0 0 * * *", "environments": ["MOON"]}, ".environments"),
    ],
)
def test_manifests_that_declare_nonsense(tenant: Tenant, schedule: Any, field: str) -> None:
    answer = deploy(tenant, nightly=schedule)
    assert refused(answer) == (422, "MANIFEST_INVALID", f"manifest.tasks.0.schedule{field}")
    assert "nightly" not in declared(tenant)


# --- the past


def backfill(tenant: Tenant, schedule: dict[str, Any], begin: str, end: str) -> testing.Result:
    return tenant.client.simulate_post(f"{SCHEDULES}/{schedule['id']}/backfill", json={"from": begin, "to": end})


def runs_of(tenant: Tenant, schedule: dict[str, Any]) -> list[dict[str, Any]]:
    answer = tenant.client.simulate_get("/api/v1/runs", params={"filter[schedule]": schedule["id"], "page[size]": 100})
    assert answer.status_code == 200, answer.text
    return list(answer.json["data"])


def test_the_past_is_filled_in_once(tenant: Tenant) -> None:
    made = create(tenant, cron="0 */6 * * *", timezone="Asia/Kolkata", externalId="customer-7")
    answer = backfill(tenant, made, "2026-01-01T00:30:00Z", "2026-01-02T00:30:00Z")
    BackfilledReply.model_validate(answer.json)
    assert answer.json == {"ticks": 5, "created": 5}
    assert backfill(tenant, made, "2025-12-31T18:30:00Z", "2026-01-02T00:30:00Z").json == {"ticks": 6, "created": 1}
    runs = runs_of(tenant, made)
    assert len(runs) == 6 and {run["taskKind"] for run in runs} == {"SCHEDULED"}
    found = tenant.client.simulate_get(f"/api/v3/runs/{runs[1]['id']}").json
    RunReply.model_validate(found)
    assert found["schedule"] == {
        "id": made["id"], "externalId": "customer-7", "deduplicationKey": made["deduplicationKey"],
        "generator": made["generator"],
    }  # fmt: skip
    payload = found["payload"]
    assert (payload["scheduleId"], payload["type"], payload["timezone"]) == (made["id"], "IMPERATIVE", "Asia/Kolkata")
    assert payload["externalId"] == "customer-7" and len(payload["upcoming"]) == 5
    ticks = [payload["timestamp"], *payload["upcoming"]]
    assert ticks == [timestamp(datetime.fromisoformat(ticks[0]) + timedelta(hours=6 * n)) for n in range(6)]
    assert tenant.client.simulate_delete(f"{SCHEDULES}/{made['id']}").status_code == 200
    assert "schedule" not in tenant.client.simulate_get(f"/api/v3/runs/{runs[1]['id']}").json


def test_the_past_is_queued_and_listed_in_its_order(platform: Platform, tenant: Tenant) -> None:
    made = create(tenant, cron="0 * * * *")
    assert backfill(tenant, made, "2026-01-01T00:00:00Z", "2026-01-11T00:00:00Z").json == {"ticks": 241, "created": 241}
    rows = platform.database.rows("SELECT scheduled_at FROM runs WHERE schedule_id = %s ORDER BY id", made["id"])
    ticks = [row["scheduled_at"] for row in rows]
    assert ticks == sorted(ticks)


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        ("2026-01-02", "2026-01-01", (422, "SCHEDULE_INVALID", "to")),
        ("2026-01-01", "2199-01-01", (422, "SCHEDULE_INVALID", "to")),
        ("2026-01-01", "2026-01-02", (422, "SCHEDULE_INVALID", "to")),  # more than 1,000 minutes
        ("0001-01-01", "2026-01-01", (422, "SCHEDULE_INVALID", "from")),
        ("0001-01-01T00:00:00+14:00", "2026-01-01", (400, "BODY_INVALID", "from")),
        ("yesterday", "2026-01-02", (400, "BODY_INVALID", "from")),
        ("2026-01-01", "", (400, "BODY_INVALID", "to")),
    ],
)
def test_times_that_cannot_be_filled_in(tenant: Tenant, begin: str, end: str, expected: tuple[int, str, str]) -> None:
    made = create(tenant, cron="* * * * *")
    assert refused(backfill(tenant, made, begin, end)) == expected
    assert runs_of(tenant, made) == []
