"""A run from trigger to result through the worker API, as an executor goes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.api.models.deployments import DeploymentReply
from sojourn.control_plane.api.models.runs import LogsReply, ResultReply, TimelineReply
from sojourn.control_plane.engine import outcomes
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, deployment, executor
from tests.contract.api.worker_calls import ask, completed, held


def test_from_trigger_to_result(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger(payload={"name": "Ada"}, metadata={"m": 1})
    work = ask(worker, wait=0, served=0)["work"]
    assert (work["run"]["id"], work["run"]["payload"]) == (run, '{"name":"Ada"}')
    lines = [{"n": 1, "at": "2026-01-01T00:00:00+00:00", "stream": "stdout", "level": "LOG", "message": "hi\x00"}]
    done = completed(work, {"ok": True, "output": '{"hi":"Ada"}', "outputType": "application/json"}, logs=lines)
    assert ask(worker, wait=None, served=1, completion=done)["completion"] == {"result": "RUN_FINISHED"}

    result = tenant.client.simulate_get(f"/api/v1/runs/{run}/result", params={"wait": "5"}).json
    ResultReply.model_validate(result)
    assert (result["ok"], result["output"], result["usage"]) == (True, '{"hi":"Ada"}', {"durationMs": 12})
    shown = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    assert (shown["status"], shown["output"], shown["attemptCount"]) == ("COMPLETED", {"hi": "Ada"}, 1)
    assert shown["version"] and shown["startedAt"] and shown["finishedAt"]


def test_log_lines_come_in_pages(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger()
    work = ask(worker, wait=0)["work"]
    lines = [
        {"n": n, "at": "2026-01-01T00:00:00Z", "stream": "stdout", "level": "LOG", "message": str(n)} for n in (1, 2, 3)
    ]
    for _ in range(2):
        answer = worker.simulate_post("/worker/v1/logs", json=held(work) | {"lines": lines, "dropped": 0})
        assert (answer.status_code, answer.json) == (200, {})
    path = f"/api/v1/runs/{run}/logs"
    first = tenant.client.simulate_get(path, params={"limit": 2}).json
    LogsReply.model_validate(first)
    second = tenant.client.simulate_get(path, params={"limit": 2, "after": first["next"]}).json
    third = tenant.client.simulate_get(path, params={"after": second["next"]}).json
    assert [line["message"] for line in first["lines"] + second["lines"]] == ["1", "2", "3"]
    assert third == {"lines": []}


def test_lines_that_make_no_sense_never_cost_a_result(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger()
    work = ask(worker, wait=0)["work"]
    lines = [
        None,
        7,
        {"n": "x", "message": "lost"},
        {"n": 2**40, "message": "lost"},
        {
            "n": 1,
            "message": "\ud800\x00",
            "at": "never",
            "stream": "tty",
            "level": "LOUD",
            "properties": {"a": float("nan")},
        },
        {"n": 2, "message": "deep", "properties": {"x": "y" * 100_000}, "at": "9999-12-31T23:59:59+00:00"},
        {"n": 3, "message": "m" * 100_000},
    ]
    done = completed(work, {"ok": True, "output": "1"}, logs=lines)
    assert ask(worker, wait=None, served=1, completion=done)["completion"]["result"] == "RUN_FINISHED"
    kept = tenant.client.simulate_get(f"/api/v1/runs/{run}/logs").json["lines"]
    assert [(line["n"], line["stream"], line["level"]) for line in kept] == [(n, "stdout", "LOG") for n in (1, 2, 3)]
    assert len(kept[2]["message"]) < 40_000


def test_an_error_is_shown_flat_and_as_it_was(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger(maxAttempts=1)
    work = ask(worker, wait=0)["work"]
    error = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no\x00pe", "stackTrace": "at \ud800"}
    ask(worker, wait=None, served=1, completion=completed(work, {"ok": False, "error": error}))
    shown = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    assert (shown["status"], shown["error"]["name"], shown["error"]["message"]) == (
        "FAILED",
        "ValueError",
        "no\u2400pe",
    )
    assert tenant.client.simulate_get(f"/api/v1/runs/{run}/result").json["error"]["type"] == "BUILT_IN_ERROR"


def test_a_retry_in_place(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger()
    work = ask(worker, wait=0)["work"]
    error = {"type": "STRING_ERROR", "raw": "once"}
    wish = {"ok": False, "error": error, "retry": {"delay": 100, "timestamp": 0}}
    told = ask(worker, wait=0, served=1, completion=completed(work, wish))["completion"]
    assert told["result"] == "RETRY_IMMEDIATELY" and 0 <= told["retryInMs"] <= 100
    again = worker.simulate_post("/worker/v1/start", json=held(work) | {"snapshot": told["snapshot"]}).json["work"]
    assert (again["run"]["id"], again["attempt"]["number"]) == (run, 2)
    ask(worker, wait=None, served=2, completion=completed(again, {"ok": True, "output": "1"}))
    timeline = tenant.client.simulate_get(f"/api/v1/runs/{run}/timeline").json
    TimelineReply.model_validate(timeline)
    assert [attempt["outcome"] for attempt in timeline["attempts"]] == ["RETRY_NOW", "SUCCEED"]


def test_a_run_for_which_there_is_no_room_goes_elsewhere_uncharged_and_not_for_ever(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses, minutes in all, are left out."""
    monkeypatch.setattr(outcomes, "_PAUSE", timedelta(0))
    run = tenant.trigger(maxAttempts=1)
    error = {"type": "INTERNAL_ERROR", "code": "TASK_EXECUTION_ABORTED", "message": "the sandbox cannot be made: no memory"}
    results = []
    while "RUN_FINISHED" not in results:
        platform.expiring.queue_due(platform.clock(), 10)
        work = ask(worker, wait=5, served=0)["work"]
        done = completed(work, {"ok": False, "error": error, "handBack": True})
        results.append(ask(worker, wait=None, served=1, completion=done)["completion"]["result"])
    assert results == ["RETRY_QUEUED"] * 11 + ["RUN_FINISHED"]
    rows = tenant.client.simulate_get(f"/api/v1/runs/{run}/timeline").json["snapshots"]
    why = {row["error"]["message"] for row in rows if row["event"] == "RETRY_LATER"}
    assert why == {f"TASK_EXECUTION_ABORTED: {error['message']}"}
    told = tenant.client.simulate_get(f"/api/v1/runs/{run}/result").json
    assert told["error"]["code"] == "TASK_RUN_DEQUEUED_MAX_RETRIES"
    assert "in 12 placements; the last time the sandbox cannot be made: no memory" in told["error"]["message"]


def test_an_executor_that_waits_is_handed_the_run(tenant: Tenant, worker: testing.TestClient) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, worker, wait=60)
        run = tenant.trigger()
        work = waiting.result()["work"]
    assert work["run"]["id"] == run
    ask(worker, wait=None, served=1, completion=completed(work, {"ok": True, "output": "1"}))


def test_a_client_that_waits_is_told_of_the_end(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger()
    with ThreadPoolExecutor() as pool:
        path = f"/api/v1/runs/{run}/result"
        waiting = pool.submit(tenant.client.simulate_get, path, params={"wait": "60"})
        work = ask(worker, wait=0)["work"]
        ask(worker, wait=None, served=1, completion=completed(work, {"ok": True, "output": "1"}))
        assert waiting.result().json["ok"] is True


def test_a_heartbeat_tells_of_a_cancellation(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger()
    work = ask(worker, wait=0)["work"]
    assert worker.simulate_post("/worker/v1/heartbeat", json=held(work) | {"wait": 0}).json == {"state": "continue"}
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    beat = worker.simulate_post("/worker/v1/heartbeat", json=held(work) | {"wait": 5}).json
    assert beat["state"] == "cancel" and beat["snapshot"] > work["snapshot"]


def test_a_stale_start_is_refused_and_not_to_be_repeated(tenant: Tenant, worker: testing.TestClient) -> None:
    tenant.trigger()
    work = ask(worker, wait=0)["work"]
    ask(worker, wait=None, served=1, completion=completed(work, {"ok": True, "output": "1"}))
    answer = worker.simulate_post("/worker/v1/start", json=held(work))
    assert (answer.status_code, answer.json["code"], answer.headers["x-should-retry"]) == (409, "STALE", "false")


def test_another_runs_token_is_refused(tenant: Tenant, worker: testing.TestClient) -> None:
    tenant.trigger()
    work = ask(worker, wait=0)["work"]
    other = tenant.trigger()
    for path, more in (("start", {}), ("heartbeat", {}), ("logs", {"lines": []})):
        answer = worker.simulate_post(f"/worker/v1/{path}", json=held(work) | {"run": other} | more)
        assert (answer.status_code, answer.json["code"]) == (401, "CREDENTIAL_REFUSED")


def test_an_executor_gets_its_own_version_alone(tenant: Tenant, worker: testing.TestClient) -> None:
    current = tenant.client.simulate_get("/api/v1/deployments/current").json
    DeploymentReply.model_validate(current)
    answer = worker.simulate_get(f"/worker/v1/versions/{current['contentHash']}")
    assert answer.headers["content-type"] == "application/zip" and answer.content.startswith(b"PK")
    other = deployment(["hello"], "other")
    tenant.client.simulate_post("/api/v1/deployments", json=other)
    for name in (other["contentHash"], "0" * 64, "..%2fx"):
        assert worker.simulate_get(f"/worker/v1/versions/{name}").status_code == 404


def test_deploying_the_same_again_makes_no_version(tenant: Tenant) -> None:
    first, again = tenant.deploy(["a", "b"]), tenant.deploy(["a", "b"])
    assert (first["isCached"], again["isCached"], again["id"]) == (False, True, first["id"])
    assert first["tasks"] == ["a", "b"]


MANIFEST: dict[str, Any] = {"sdk": "1", "python": "3"}


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"archive": "not base64!"}, 400, "BODY_INVALID"),
        ({"archive": ""}, 422, "ARCHIVE_INVALID"),
        ({"archive": "UEsFBg=="}, 422, "ARCHIVE_INVALID"),
        ({"contentHash": "0" * 64}, 422, "ARCHIVE_INVALID"),
        ({"contentHash": "x"}, 400, "BODY_INVALID"),
        ({"manifest": {}}, 422, "MANIFEST_INVALID"),
        (
            {"manifest": {"sdk": "1", "python": "3", "tasks": [{"id": "a", "file": "../x", "export": "a"}]}},
            422,
            "MANIFEST_INVALID",
        ),
        ({"manifest": MANIFEST | {"tasks": [7]}}, 422, "MANIFEST_INVALID"),
        ({"extra": 1}, 400, "BODY_INVALID"),
    ],
)
def test_deployments_that_cannot_be(
    tenant: Tenant, platform: Platform, change: dict[str, Any], status: int, code: str
) -> None:
    before = platform.versions.current(tenant.environment)
    answer = tenant.client.simulate_post("/api/v1/deployments", json=deployment(["x"]) | change)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert platform.versions.current(tenant.environment) == before


def test_nothing_is_deployed_in_a_new_environment(stranger: Tenant) -> None:
    answer = stranger.client.simulate_get("/api/v1/deployments/current")
    assert (answer.status_code, answer.json["code"]) == (404, "DEPLOYMENT_NOT_FOUND")


def test_one_of_a_version_just_deployed_is_offered_what_is_pinned_to_none(tenant: Tenant, platform: Platform) -> None:
    """Who asked a moment before has made the old version known as the current one."""
    old = tenant.deploy(["hello"], "before")
    ask(executor(platform, tenant, old["id"], "executor_before"), wait=0)
    new = tenant.deploy(["hello"], "after")
    tenant.trigger()
    assert "work" in ask(executor(platform, tenant, new["id"], "executor_after"), wait=0)


def test_a_version_has_an_image_of_its_own(tenant: Tenant) -> None:
    body = deployment(["pictured"])
    plain = tenant.client.simulate_post("/api/v1/deployments", json=body).json
    made = [tenant.client.simulate_post("/api/v1/deployments", json={**body, "image": "hub/x:1"}).json for _ in range(2)]
    assert plain["id"] != made[0]["id"] == made[1]["id"]
    shown = tenant.client.simulate_get("/api/v1/deployments/current").json
    DeploymentReply.model_validate(shown)
    assert shown["image"] == "hub/x:1"
    for wrong in ("", "a b", "-x", "x:", "x@sha256:1", "x" * 300, "$(id)", 7):
        answer = tenant.client.simulate_post("/api/v1/deployments", json={**body, "image": wrong})
        assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID"), wrong
