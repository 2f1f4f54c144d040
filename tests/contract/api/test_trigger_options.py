"""Every option of a trigger, one test each, named after it: what becomes of the run. Those with pages of their own
(debounce, large payloads, idempotency keys, queues) have files of their own, too.
"""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.api.models.runs import RunReply
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, deployment, executor
from tests.contract.api.worker_calls import ask, completed, drain


@pytest.fixture
def key() -> str:
    return secrets.token_hex(8)


def asked(tenant: Tenant, body: dict[str, Any], task: str = "hello") -> testing.Result:
    return tenant.client.simulate_post(f"/api/v1/tasks/{task}/trigger", json=body)


def shown(tenant: Tenant, run: str) -> dict[str, Any]:
    wire = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    RunReply.model_validate(wire)
    return dict(wire)


def found(platform: Platform, tenant: Tenant, run: str) -> Run:
    there = platform.runs.find(tenant.environment, run)
    assert there
    return there


def deploy(tenant: Tenant, tasks: list[str], **more: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_post("/api/v1/deployments", json=deployment(tasks, secrets.token_hex(4)) | more)
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def is_refused(answer: testing.Result, status: int, code: str, field: str) -> None:
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (status, code, field)
    assert answer.json["error"] and answer.json["nextStep"]


# --- when


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("2h", 7_200), ("2hr", 7_200), ("1d", 86_400), ("1w", 604_800), ("1h30m5s", 5_405)],
)
def test_delay_of_every_unit(platform: Platform, tenant: Tenant, text: str, seconds: int) -> None:
    run = found(platform, tenant, tenant.trigger("later", delay=text))
    assert run.delayed_until and run.delayed_until - run.created_at == timedelta(seconds=seconds)


def test_delay_until_a_date(platform: Platform, tenant: Tenant, version: str) -> None:
    date = (platform.clock() + timedelta(hours=1)).replace(microsecond=0)
    run = tenant.trigger(delay=date.isoformat())
    assert found(platform, tenant, run).delayed_until == date and shown(tenant, run)["status"] == "DELAYED"


def test_delay_that_is_past_is_none(tenant: Tenant, version: str) -> None:
    wire = shown(tenant, tenant.trigger(delay="2020-01-01T00:00:00Z"))
    assert wire["status"] == "QUEUED" and "delayedUntil" not in wire


def test_ttl_begins_when_the_delay_is_over(platform: Platform, tenant: Tenant, version: str) -> None:
    run = tenant.trigger(delay="1h", ttl="5m")
    assert found(platform, tenant, run).ttl_expires_at is None
    late = platform.clock() + timedelta(hours=1, minutes=1)
    platform.expiring.queue_due(late, 500)
    assert found(platform, tenant, run).ttl_expires_at == late + timedelta(minutes=5)
    platform.expiring.expire(late + timedelta(minutes=6), 500)
    assert shown(tenant, run)["status"] == "EXPIRED"


@pytest.mark.parametrize(("ttl", "seconds"), [("1h", 3_600), (90, 90), (0, 0)])
def test_ttl_as_text_or_seconds(platform: Platform, tenant: Tenant, ttl: Any, seconds: int) -> None:
    assert found(platform, tenant, tenant.trigger("later", ttl=ttl)).ttl_seconds == seconds


def test_ttl_of_ten_minutes_in_development_alone(platform: Platform, tenant: Tenant, sibling: Tenant) -> None:
    assert found(platform, tenant, tenant.trigger("later")).ttl_seconds == 600
    assert found(platform, sibling, sibling.trigger("later")).ttl_seconds is None


def test_priority_is_a_head_start_in_seconds(tenant: Tenant, worker: testing.TestClient) -> None:
    late, first = tenant.trigger(), tenant.trigger(priority=60)
    served = [ask(worker, wait=0, served=0)["work"]]
    served.append(ask(worker, wait=0, served=1, completion=completed(served[0], {"ok": True}))["work"])
    assert [work["run"]["id"] for work in served] == [first, late] and served[0]["run"]["priority"] == 60
    ask(worker, wait=None, served=2, completion=completed(served[1], {"ok": True}))


# --- how


def test_machine(platform: Platform, tenant: Tenant, version: str) -> None:
    assert shown(tenant, tenant.trigger(machine="medium-1x"))["machine"] == "medium-1x"
    is_refused(asked(tenant, {"options": {"machine": "giant"}}), 400, "BODY_INVALID", "options.machine")


def test_maxAttempts(platform: Platform, tenant: Tenant, version: str) -> None:
    assert found(platform, tenant, tenant.trigger(maxAttempts=7)).max_attempts == 7


@pytest.mark.parametrize(("given", "kept"), [(0.5, 5), (1, 5), (60.9, 60), (2_147_483_647, 2_147_483_647)])
def test_maxDuration_is_clamped(platform: Platform, tenant: Tenant, version: str, given: float, kept: int) -> None:
    assert found(platform, tenant, tenant.trigger(maxDuration=given)).max_duration == kept


def test_queue_and_concurrencyKey(platform: Platform, tenant: Tenant, version: str) -> None:
    run = found(platform, tenant, tenant.trigger(queue={"name": "mail", "concurrencyLimit": 3}, concurrencyKey=7.0))
    assert (run.queue, run.concurrency_key) == ("mail", "7")


def test_test_marks_the_run(tenant: Tenant) -> None:
    assert shown(tenant, tenant.trigger("later", test=True))["isTest"] is True
    assert shown(tenant, tenant.trigger("later", test=False))["isTest"] is False


def test_region_that_nobody_has_named_is_refused(tenant: Tenant) -> None:
    is_refused(asked(tenant, {"options": {"region": "moon"}}), 422, "REGION_UNKNOWN", "options.region")


# --- which code


def test_lockToVersion(platform: Platform, tenant: Tenant, version: str) -> None:
    first = deploy(tenant, ["hello"])
    second = deploy(tenant, ["hello"])
    assert shown(tenant, tenant.trigger(lockToVersion=first["version"]))["version"] == first["version"]
    assert found(platform, tenant, tenant.trigger()).locked_version_id is None
    other = executor(platform, tenant, second["id"], f"executor_{secrets.token_hex(4)}")
    work = ask(other, wait=0, served=0)["work"]
    assert work["run"]["version"] == second["version"], "a run that is locked to another version is not this executor's"
    ask(other, wait=None, served=1, completion=completed(work, {"ok": True}))
    drain(executor(platform, tenant, first["id"], f"executor_{secrets.token_hex(4)}"))


def test_lockToVersion_that_is_unknown_is_refused(tenant: Tenant) -> None:
    is_refused(
        asked(tenant, {"options": {"lockToVersion": "20010101.1"}}), 422, "VERSION_NOT_FOUND", "options.lockToVersion"
    )


def test_externalDeploymentId_leads_to_the_newest_of_that_name(sibling: Tenant, key: str) -> None:
    deploy(sibling, ["named"], externalId=key)
    second = deploy(sibling, ["named"], externalId=key)
    deploy(sibling, ["named"], externalId="another")
    run = sibling.trigger("named", externalDeploymentId=f" {key} ")
    assert shown(sibling, run)["version"] == second["version"]
    current = sibling.client.simulate_get("/api/v1/deployments/current").json
    assert current["externalId"] == "another"


def test_externalDeploymentId_that_is_not_there_yet_is_waited_for(platform: Platform, sibling: Tenant, key: str) -> None:
    deploy(sibling, ["named"])
    run, delayed = (sibling.trigger("named", externalDeploymentId=key, **more) for more in ({}, {"delay": "1h"}))
    assert shown(sibling, run)["status"] == "PENDING_VERSION"
    deploy(sibling, ["named"], externalId="not-it")
    assert shown(sibling, run)["status"] == "PENDING_VERSION"
    named = deploy(sibling, ["named"], externalId=key)
    deploy(sibling, ["named"])
    wire = shown(sibling, run)
    assert (wire["status"], wire["version"]) == ("QUEUED", named["version"])
    assert shown(sibling, delayed)["status"] == "DELAYED"
    assert found(platform, sibling, run).ttl_expires_at is None


def test_externalDeploymentId_that_is_deployed_while_its_run_is_stored(
    platform: Platform, sibling: Tenant, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger has not seen the version, and the deployment has not seen the run."""
    insert = platform.runs.insert

    def slow(documents: Any) -> Any:
        rows = insert(documents)
        with monkeypatch.context() as patch:
            patch.setattr(platform.runs, "release_versioned", lambda *_: [])
            deploy(sibling, ["named"], externalId=key)
        return rows

    monkeypatch.setattr(platform.runs, "insert", slow)
    assert shown(sibling, sibling.trigger("named", externalDeploymentId=key))["status"] == "QUEUED"


def test_a_run_that_was_held_while_its_version_came_is_released_by_the_sweep(
    platform: Platform, sibling: Tenant, key: str
) -> None:
    """A debounce, or a change of its metadata, held it: the deployment has passed it over."""
    deploy(sibling, ["named"])
    run, plain = sibling.trigger("named", externalDeploymentId=key), sibling.trigger(f"late-{key}")
    with platform.database.transaction():
        platform.database.rows("SELECT id FROM runs WHERE id = ANY(%s) FOR UPDATE", [run, plain])
        with ThreadPoolExecutor(1) as pool:
            pool.submit(deploy, sibling, ["named", f"late-{key}"], externalId=key).result()
    assert [shown(sibling, each)["status"] for each in (run, plain)] == ["PENDING_VERSION"] * 2
    assert platform.recovery.sweep(sibling.organization, platform.clock()).enqueued == 2
    assert [shown(sibling, each)["status"] for each in (run, plain)] == ["QUEUED"] * 2
    assert not platform.recovery.sweep(sibling.organization, platform.clock()).enqueued


def test_a_name_that_is_not_deployed_has_no_run_looked_through(
    platform: Platform, sibling: Tenant, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(sibling, ["named"])
    monkeypatch.setattr(platform.runs, "release_versioned", lambda *_: pytest.fail("all that wait were walked"))
    assert shown(sibling, sibling.trigger("named", externalDeploymentId=key))["status"] == "PENDING_VERSION"


def test_externalDeploymentId_is_waited_for_an_hour(platform: Platform, sibling: Tenant, key: str) -> None:
    run = sibling.trigger("named", externalDeploymentId=key)
    platform.expiring.expire(platform.clock() + timedelta(minutes=59), 500)
    assert shown(sibling, run)["status"] == "PENDING_VERSION"
    platform.expiring.expire(platform.clock() + timedelta(minutes=61), 500)
    assert shown(sibling, run)["status"] == "EXPIRED"
    last = platform.runs.history(run)[-1]
    assert last.description and key in last.description


def test_externalDeploymentId_whose_version_lacks_the_task_is_refused(sibling: Tenant, key: str) -> None:
    deploy(sibling, ["named"], externalId=key)
    answer = asked(sibling, {"options": {"externalDeploymentId": key}}, "nobody")
    is_refused(answer, 422, "VERSION_NOT_FOUND", "options.externalDeploymentId")


def test_externalDeploymentId_is_ignored_in_development_and_beside_a_version(
    tenant: Tenant, sibling: Tenant, version: str, key: str
) -> None:
    assert shown(tenant, tenant.trigger(externalDeploymentId=key))["status"] == "QUEUED"
    made = deploy(sibling, ["named"])
    run = sibling.trigger("named", externalDeploymentId=key, lockToVersion=made["version"])
    assert shown(sibling, run)["version"] == made["version"]
    assert shown(sibling, sibling.trigger("named", externalDeploymentId=" "))["status"] == "QUEUED"
    too_long = {"options": {"externalDeploymentId": "x" * 129}}
    is_refused(asked(sibling, too_long), 400, "BODY_INVALID", "options.externalDeploymentId")


def test_the_same_content_under_another_name_is_another_version(sibling: Tenant, key: str) -> None:
    body = deployment(["named"], key)
    made = [
        sibling.client.simulate_post("/api/v1/deployments", json=body | more).json
        for more in ({}, {"externalId": key}, {"externalId": key}, {})
    ]
    assert [each["isCached"] for each in made] == [False, False, True, True]
    assert made[0]["version"] != made[1]["version"] == made[2]["version"] == made[3]["version"]


# --- what goes with it


def test_tags_that_are_blank_are_dropped_and_more_than_ten_refused(tenant: Tenant) -> None:
    assert shown(tenant, tenant.trigger("later", tags=["b", "", "  ", "a"]))["tags"] == ["a", "b"]
    assert shown(tenant, tenant.trigger("later", tags="one"))["tags"] == ["one"]
    assert len(shown(tenant, tenant.trigger("later", tags=[*map(str, range(10)), " "]))["tags"]) == 10
    is_refused(asked(tenant, {"options": {"tags": [*map(str, range(11))]}}), 422, "TOO_MANY_TAGS", "options.tags")
    is_refused(asked(tenant, {"options": {"tags": ["x" * 129]}}), 400, "BODY_INVALID", "options.tags.0")


def test_metadata_as_an_object_or_its_text(tenant: Tenant) -> None:
    assert shown(tenant, tenant.trigger("later", metadata={"a": [1]}))["metadata"] == {"a": [1]}
    run = tenant.trigger("later", metadata='{"a": [1]}', metadataType="application/json")
    assert shown(tenant, run)["metadata"] == {"a": [1]}


def test_metadata_up_to_its_limit(tenant: Tenant) -> None:
    most = {"m": "x" * (262_144 - 8)}
    assert shown(tenant, tenant.trigger("later", metadata=most))["metadata"] == most
    answer = asked(tenant, {"options": {"metadata": {"m": "x" * (262_144 - 7)}}})
    is_refused(answer, 413, "METADATA_TOO_LARGE", "options.metadata")


@pytest.mark.parametrize(
    ("payload", "media_type", "stored"),
    [
        ({"a": 1}, None, {"a": 1}),
        ('{"json": {"a": 1}}', "application/super+json", {"a": 1}),
        ("plain", "text/plain", "plain"),
        ("plain", "application/json", "plain"),
        (None, None, None),
    ],
)
def test_payloadType_and_payloadSize(tenant: Tenant, payload: Any, media_type: str | None, stored: Any) -> None:
    options: dict[str, Any] = {"payloadSize": 131_072} | ({"payloadType": media_type} if media_type else {})
    assert shown(tenant, tenant.trigger("later", payload, **options)).get("payload") == stored


def test_context_and_obsolete_fields_are_accepted_and_ignored(tenant: Tenant) -> None:
    obsolete = {
        "dependentAttempt": "attempt_1",
        "parentAttempt": "attempt_2",
        "dependentBatch": "batch_1",
        "bulkActionId": "b",
    }
    answer = asked(tenant, {"payload": 1, "context": {"any": ["thing"]}, "options": obsolete})
    assert answer.status_code == 200


def test_parentRunId_and_resumeParentOnCompletion(tenant: Tenant) -> None:
    parent = tenant.trigger("later")
    child = shown(tenant, tenant.trigger("later", parentRunId=parent))
    assert (child["relatedRuns"]["parent"]["id"], child["depth"]) == (parent, 1)
    answer = asked(tenant, {"options": {"parentRunId": parent, "resumeParentOnCompletion": True}})
    is_refused(answer, 422, "OPTION_UNSUPPORTED", "options.resumeParentOnCompletion")
    tenant.client.simulate_post(f"/api/v2/runs/{parent}/cancel")
    is_refused(asked(tenant, {"options": {"parentRunId": parent}}), 422, "PARENT_IS_OVER", "options.parentRunId")


# --- idempotency


def cached(tenant: Tenant, key: str, task: str = "hello", **options: Any) -> tuple[str, bool]:
    answer = asked(tenant, {"options": {"idempotencyKey": key, **options}}, task)
    assert answer.status_code == 200, answer.text
    return answer.json["id"], answer.json["isCached"]


@pytest.mark.parametrize("scope", ["run", "attempt", "global"])
def test_idempotencyKeyOptions_are_shown_back(tenant: Tenant, worker: testing.TestClient, key: str, scope: str) -> None:
    given: dict[str, Any] = {"idempotencyKeyOptions": {"key": f"order {key}", "scope": scope}}
    run, _ = cached(tenant, key, **given)
    assert shown(tenant, run)["idempotencyKey"] == f"order {key}"
    told = ask(worker, wait=0, served=0)["work"]
    assert (told["run"]["idempotencyKey"], told["run"]["idempotencyKeyScope"]) == (f"order {key}", scope)
    ask(worker, wait=None, served=1, completion=completed(told, {"ok": True}))


def test_idempotencyKeyOptions_of_another_scope_are_refused(tenant: Tenant) -> None:
    options = {"idempotencyKey": "k", "idempotencyKeyOptions": {"key": "k", "scope": "planet"}}
    is_refused(asked(tenant, {"options": options}), 400, "BODY_INVALID", "options.idempotencyKeyOptions.scope")


def test_idempotencyKeyTTL(platform: Platform, tenant: Tenant, key: str) -> None:
    run, _ = cached(tenant, key, idempotencyKeyTTL="5m")
    assert cached(tenant, key) == (run, True)
    platform.database.rows("UPDATE runs SET idempotency_expires_at = now() - interval '1 s' WHERE id = %s", run)
    second, is_cached = cached(tenant, key)
    assert second != run and not is_cached
    life = found(platform, tenant, second)
    assert life.idempotency_expires_at and life.idempotency_expires_at - life.created_at == timedelta(days=30)


def test_idempotencyKey_is_freed_by_a_failure_and_by_an_expiry_alone(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, key: str
) -> None:
    first, _ = cached(tenant, key)
    work = ask(worker, wait=0, served=0)["work"]
    failed = {"ok": False, "error": {"type": "STRING_ERROR", "raw": "no"}, "skippedRetrying": True}
    ask(worker, wait=None, served=1, completion=completed(work, failed))
    second, is_cached = cached(tenant, key, ttl=60)
    assert second != first and not is_cached
    platform.expiring.expire(platform.clock() + timedelta(minutes=2), 500)
    third, is_cached = cached(tenant, key)
    assert shown(tenant, second)["status"] == "EXPIRED" and third != second and not is_cached
    work = ask(worker, wait=0, served=1)["work"]
    ask(worker, wait=None, served=2, completion=completed(work, {"ok": True}))
    assert cached(tenant, key) == (third, True), "a run that succeeded keeps it"
    cancelled, _ = cached(tenant, f"{key}-2")
    tenant.client.simulate_post(f"/api/v2/runs/{cancelled}/cancel")
    assert cached(tenant, f"{key}-2") == (cancelled, True), "and so does one that was cancelled"


def test_idempotencyKey_of_a_hundred_triggers_at_once_is_one_run(tenant: Tenant, key: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: cached(tenant, key), range(100)))
    assert len({run for run, _ in made}) == 1
    assert [is_cached for _, is_cached in made].count(False) == 1


def test_idempotencyKey_is_of_its_task_and_its_environment(
    tenant: Tenant, sibling: Tenant, stranger: Tenant, key: str
) -> None:
    made = {cached(tenant, key)[0], cached(tenant, key, "other")[0], cached(sibling, key)[0], cached(stranger, key)[0]}
    assert len(made) == 4


def test_idempotencyKey_and_task_of_the_greatest_length(tenant: Tenant, key: str) -> None:
    task, long = "日" * 256, "é" * 1_000 + key
    run, is_cached = cached(tenant, long, task)
    assert not is_cached and cached(tenant, long, task) == (run, True)
    answer = tenant.client.simulate_post(f"/api/v1/idempotencyKeys/{long}/reset", json={"taskIdentifier": task})
    assert answer.status_code == 200 and cached(tenant, long, task)[0] != run
