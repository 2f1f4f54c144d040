"""Runs that wait, as an executor tells of them: blocked with their slots free, and going on through the queue."""

from __future__ import annotations

import json
import secrets
import threading
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.api.models.worker import BeatReply, WaitReply
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, executor
from tests.contract.api.worker_calls import ask, completed, held


def begun(tenant: Tenant, worker: testing.TestClient, **options: Any) -> dict[str, Any]:
    run = tenant.trigger(**options)
    work = ask(worker, wait=0, served=0)["work"]
    assert work["run"]["id"] == run
    return dict(work)


def wait(worker: testing.TestClient, work: dict[str, Any], *waits: dict[str, Any], **more: Any) -> dict[str, Any]:
    pending = [each["key"] for each in waits]
    body = {**held(work), "waits": list(waits), "pending": pending, "block": "any"} | more
    answer = worker.simulate_post("/worker/v1/wait", json=body)
    assert answer.status_code == 200, answer.text
    WaitReply.model_validate(answer.json)
    return dict(answer.json)


def beat(worker: testing.TestClient, work: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = worker.simulate_post("/worker/v1/heartbeat", json={**held(work), "wait": 0, **more})
    assert answer.status_code == 200, answer.text
    BeatReply.model_validate(answer.json)
    return dict(answer.json)


def date(platform: Platform, seconds: float, key: str = "1:1", **more: Any) -> dict[str, Any]:
    return {"key": key, "kind": "date", "at": (platform.clock() + timedelta(seconds=seconds)).isoformat(), **more}


def child(run: str, key: str = "1:1") -> dict[str, Any]:
    return {"key": key, "kind": "run", "awaited": run}


def stands(platform: Platform, work: dict[str, Any]) -> tuple[str, int]:
    run = platform.runs.any(work["run"]["id"])
    assert run
    return run.snapshot_status, run.snapshot


def queue_state(platform: Platform, tenant: Tenant, work: dict[str, Any]) -> str | None:
    return platform.queue.members(tenant.organization, [work["run"]["id"]])[0]


def test_a_date_that_is_over_blocks_nobody(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    answer = wait(worker, work, date(platform, -1))
    assert (answer["state"], answer["snapshot"]) == ("ready", work["snapshot"])
    assert answer["done"]["1:1"]["ok"] and answer["done"]["1:1"]["kind"] == "date"


def test_a_blocked_run_holds_no_slot_and_goes_on_through_the_queue(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    work = begun(tenant, worker)
    wish = date(platform, 1)
    answer = wait(worker, work, wish)
    assert (answer["state"], answer["snapshot"]) == ("blocked", work["snapshot"] + 1)
    assert queue_state(platform, tenant, work) is None
    assert wait(worker, work, wish) == answer  # the same call once more
    assert beat(worker, {**work, "snapshot": answer["snapshot"]}, pending=["1:1"]) == {"state": "continue", "blocked": True}

    assert platform.waiting.complete_due(platform.clock() + timedelta(seconds=2)) == 1
    assert stands(platform, work)[0] == "QUEUED_EXECUTING"
    assert queue_state(platform, tenant, work) == "waiting"
    assert platform.placing.readmit(platform.clock()) == 1
    assert stands(platform, work) == ("EXECUTING", work["snapshot"] + 3)
    assert queue_state(platform, tenant, work) == "inflight"
    told = beat(worker, {**work, "snapshot": answer["snapshot"]}, pending=["1:1"])
    assert (told["state"], told["snapshot"], list(told["done"])) == ("continue", work["snapshot"] + 3, ["1:1"])

    # The end may be told by the snapshot that the executor knew last.
    done = completed({**work, "snapshot": answer["snapshot"]}, {"ok": True, "output": "1"})
    assert ask(worker, wait=None, served=1, completion=done)["completion"]["result"] == "RUN_FINISHED"
    assert queue_state(platform, tenant, work) is None


def test_a_call_that_was_overtaken_blocks_nobody(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    """Its copy comes late, after the process has gone on by itself and told so."""
    work = begun(tenant, worker)
    wish = date(platform, 60)
    late = {**held(work), "waits": [wish], "pending": ["1:1"], "block": "any", "call": 1}
    assert wait(worker, work, wish, call=1) == wait(worker, work, wish, call=1)
    assert wait(worker, work, pending=["1:1"], block=None, call=2)["state"] == "blocked"
    assert platform.placing.readmit(platform.clock()) == 1
    goes_on = stands(platform, work)
    assert goes_on[0] == "EXECUTING"
    assert worker.simulate_post("/worker/v1/wait", json=late).status_code == 409
    assert stands(platform, work) == goes_on
    again = wait(worker, {**work, "snapshot": goes_on[1]}, pending=["1:1"], call=3)
    assert again["state"] == "blocked"


def test_a_call_that_comes_while_another_blocks_the_run_has_the_last_word(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = begun(tenant, worker)
    index = platform.waiting._index
    release, told = index.release, []

    def overtaken(*arguments: Any) -> Any:
        released = release(*arguments)
        if not told:
            told.append(wait(worker, work, pending=["1:1"], block=None, call=2)["state"])
        return released

    monkeypatch.setattr(index, "release", overtaken)
    wait(worker, work, date(platform, 60), call=1)
    assert told == ["ready"]
    assert stands(platform, work)[0] == "QUEUED_EXECUTING"


def test_a_child_s_end_lets_its_parent_go_on(
    platform: Platform, tenant: Tenant, version: str, worker: testing.TestClient
) -> None:
    work = begun(tenant, worker)
    run = tenant.trigger("child")
    assert wait(worker, work, child(run))["state"] == "blocked"
    other = executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")
    told: list[dict[str, Any]] = []

    def poll() -> None:
        snapshot = work["snapshot"] + 1
        while not told or "done" not in told[-1]:  # told that it may go on, it waits for its slot
            told.append(beat(worker, {**work, "snapshot": snapshot}, pending=["1:1"], wait=20))
            snapshot = told[-1].get("snapshot", snapshot)

    thread = threading.Thread(target=poll)
    thread.start()
    done = completed(ask(other, wait=0, served=0)["work"], {"ok": True, "output": '"grown"'})
    # Whoever asks the queue next lets the parent go on, and gets no run by that.
    assert "work" not in ask(other, wait=0, served=1, completion=done)
    platform.placing.readmit(platform.clock())
    thread.join(60)
    assert told[-1]["done"]["1:1"] | {"usage": None} == {
        "ok": True, "id": run, "taskIdentifier": "child", "output": '"grown"', "outputType": "application/json",
        "kind": "run", "waitpoint": told[-1]["done"]["1:1"]["waitpoint"], "usage": None,
    }  # fmt: skip


def test_a_child_that_was_over_before(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger("child")
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    work = begun(tenant, worker)
    answer = wait(worker, work, child(run))
    assert answer["state"] == "ready" and answer["done"]["1:1"]["error"]["code"] == "TASK_RUN_CANCELLED"


def test_a_cancelled_child_lets_its_parent_go_on(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    run = tenant.trigger("child")
    assert wait(worker, work, child(run))["state"] == "blocked"
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    platform.placing.readmit(platform.clock())
    assert stands(platform, work)[0] == "EXECUTING"


def test_a_batch_of_children_that_all_fail_lets_its_parent_go_on(
    platform: Platform, tenant: Tenant, version: str, worker: testing.TestClient
) -> None:
    """Nothing of it is the parent's end: it goes on with what each of them says."""
    work = begun(tenant, worker)
    body = {"items": [{"task": "child", "options": {"maxAttempts": 1}} for _ in range(3)]}
    batch = tenant.client.simulate_post("/api/v2/tasks/batch", json=body).json["id"]
    runs = tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["runs"]
    wishes = [child(run, f"1:{n}") for n, run in enumerate(runs)]
    answer = wait(worker, work, *wishes, block="all")
    assert (len(runs), answer["state"]) == (3, "blocked")
    for n in range(3):
        other = executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")
        failed = ask(other, wait=0, served=0)["work"]
        error = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": failed["run"]["id"], "stackTrace": ""}
        assert stands(platform, work)[0] == "EXECUTING_WITH_WAITPOINTS", n
        ask(other, wait=None, served=1, completion=completed(failed, {"ok": False, "error": error}))
    platform.placing.readmit(platform.clock())
    assert stands(platform, work)[0] == "EXECUTING"
    done = beat(worker, {**work, "snapshot": answer["snapshot"]}, pending=[wish["key"] for wish in wishes])["done"]
    assert [(done[f"1:{n}"]["ok"], done[f"1:{n}"]["error"]["message"]) for n in range(3)] == [(False, run) for run in runs]
    assert tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["status"] == "COMPLETED"


def test_all_is_more_than_any(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    runs = [tenant.trigger("child") for _ in range(2)]
    wishes = [child(run, f"1:{n}") for n, run in enumerate(runs)]
    answer = wait(worker, work, *wishes, block="all")
    assert answer["state"] == "blocked"
    tenant.client.simulate_post(f"/api/v2/runs/{runs[0]}/cancel")
    assert stands(platform, work)[0] == "EXECUTING_WITH_WAITPOINTS"
    tenant.client.simulate_post(f"/api/v2/runs/{runs[1]}/cancel")
    assert stands(platform, work)[0] == "QUEUED_EXECUTING"
    platform.placing.readmit(platform.clock())
    told = beat(worker, {**work, "snapshot": answer["snapshot"]}, pending=["1:0", "1:1"])
    assert sorted(told["done"]) == ["1:0", "1:1"]


def test_a_wait_that_does_not_block_is_told_by_a_beat(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    work = begun(tenant, worker)
    run = tenant.trigger("child")
    assert wait(worker, work, child(run), block=None) == {"state": "ready", "snapshot": work["snapshot"], "done": {}}
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    assert list(beat(worker, work, pending=["1:1"])["done"]) == ["1:1"]


def test_a_blocked_run_may_wait_for_something_else(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    """As by another thread of its process, whose shim knows the newest snapshot."""
    work = begun(tenant, worker)
    runs = [tenant.trigger("child") for _ in range(2)]
    work["snapshot"] = wait(worker, work, child(runs[0]))["snapshot"]
    more = wait(worker, work, child(runs[1], "1:2"), pending=["1:1", "1:2"])
    assert more == {"state": "blocked", "snapshot": work["snapshot"], "done": {}}
    tenant.client.simulate_post(f"/api/v2/runs/{runs[1]}/cancel")
    assert stands(platform, work)[0] == "QUEUED_EXECUTING"


def test_a_date_with_a_key_is_waited_for_once(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    key = secrets.token_hex(4)
    assert wait(worker, work, date(platform, 1, idempotencyKey=key))["state"] == "blocked"
    platform.waiting.complete_due(platform.clock() + timedelta(seconds=2))
    platform.placing.readmit(platform.clock())
    again = wait(worker, {**work, "snapshot": stands(platform, work)[1]}, date(platform, 60, "2:1", idempotencyKey=key))
    assert again["state"] == "ready" and again["done"]["2:1"]["ok"]


def test_nothing_of_another_environment_can_be_waited_for(
    tenant: Tenant, stranger: Tenant, worker: testing.TestClient
) -> None:
    stranger.deploy(["hello"])
    work = begun(tenant, worker)
    answer = wait(worker, work, child(stranger.trigger()), {"key": "1:2", "kind": "token", "waitpoint": "waitpoint_x"})
    assert {key: done["error"]["code"] for key, done in answer["done"].items()} == {
        "1:1": "WAITPOINT_NOT_FOUND",
        "1:2": "WAITPOINT_NOT_FOUND",
    }


@pytest.mark.parametrize("stands_at", ["EXECUTING_WITH_WAITPOINTS", "QUEUED_EXECUTING"])
@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (
            {"ok": False, "error": {"type": "BUILT_IN_ERROR", "name": "E", "message": "m"}, "retry": {"delay": 1}},
            "RETRY_QUEUED",
        ),
        (
            {"ok": False, "error": {"type": "BUILT_IN_ERROR", "name": "E", "message": "m"}, "skippedRetrying": True},
            "RUN_FINISHED",
        ),
        (
            {"ok": False, "handBack": True, "error": {"type": "INTERNAL_ERROR", "code": "GRACEFUL_EXIT_TIMEOUT"}},
            "RETRY_QUEUED",
        ),
        ({"ok": True, "output": "1"}, "RUN_FINISHED"),
    ],
)
def test_an_attempt_may_end_while_it_waits(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, stands_at: str, outcome: dict[str, Any], result: str
) -> None:
    work = begun(tenant, worker)
    answer = wait(worker, work, date(platform, 1))
    if stands_at == "QUEUED_EXECUTING":
        platform.waiting.complete_due(platform.clock() + timedelta(seconds=2))
    assert stands(platform, work)[0] == stands_at
    done = completed({**work, "snapshot": answer["snapshot"]}, outcome)
    assert ask(worker, wait=None, served=1, completion=done)["completion"]["result"] == result
    tenant.client.simulate_post(f"/api/v2/runs/{work['run']['id']}/cancel")


def test_a_blocked_run_is_cancelled(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    answer = wait(worker, work, date(platform, 60))
    tenant.client.simulate_post(f"/api/v2/runs/{work['run']['id']}/cancel")
    assert beat(worker, {**work, "snapshot": answer["snapshot"]}, pending=["1:1"])["state"] == "cancel"


def test_the_sweep_finds_what_a_crash_has_cut_apart(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child has ended, and nobody told its parent."""
    work = begun(tenant, worker)
    run = tenant.trigger("child")
    wait(worker, work, child(run))
    monkeypatch.setattr(platform.index, "on_awaited", lambda runs, now: None)
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    monkeypatch.undo()
    assert stands(platform, work)[0] == "EXECUTING_WITH_WAITPOINTS"
    assert platform.waiting.sweep(platform.clock()) >= 1
    assert stands(platform, work)[0] == "QUEUED_EXECUTING"
    tenant.client.simulate_post(f"/api/v2/runs/{work['run']['id']}/cancel")


def test_a_rebuilt_queue_has_who_waits_in_memory(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    wait(worker, work, date(platform, 1))
    platform.waiting.complete_due(platform.clock() + timedelta(seconds=2))
    platform.redis.flushall()
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert queue_state(platform, tenant, work) == "waiting"
    assert platform.placing.readmit(platform.clock()) >= 1
    assert stands(platform, work)[0] == "EXECUTING"


def test_somebody_else_s_snapshot_is_stale(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    body = {**held({**work, "snapshot": 1}), "waits": [], "pending": [], "block": None}
    answer = worker.simulate_post("/worker/v1/wait", body=json.dumps(body), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (409, "STALE")


def test_a_run_that_is_handed_back_while_it_is_readmitted_waits_for_an_executor(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    work = begun(tenant, worker)
    answer = wait(worker, work, date(platform, 1))
    platform.waiting.complete_due(platform.clock() + timedelta(seconds=2))
    now_ms = int(platform.clock().timestamp() * 1000)
    lanes = [lane for lane in platform.queue.waiting_lanes(tenant.organization) if "|resident|" in lane]
    taken = platform.queue.dequeue(tenant.organization, now_ms, lanes=lanes)
    assert taken is not None and taken.run == work["run"]["id"]
    left = {"ok": False, "handBack": True, "error": {"type": "INTERNAL_ERROR", "code": "GRACEFUL_EXIT_TIMEOUT"}}
    ask(worker, wait=None, served=1, completion=completed({**work, "snapshot": answer["snapshot"]}, left))
    platform.placing._claiming.readmit(taken, platform.clock())
    assert stands(platform, work)[0] == "QUEUED"
    assert ask(worker, wait=0, served=0)["work"]["run"]["id"] == work["run"]["id"]
