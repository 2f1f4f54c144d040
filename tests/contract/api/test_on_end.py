"""Every end of a run calls its task's `on_end` hooks, in one run of the platform's making, whoever is killed on the way."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from sojourn.control_plane import faults
from sojourn.control_plane.api.models.runs import RunReply, TimelineReply
from sojourn.control_plane.engine import endings
from sojourn.control_plane.engine.outcomes import executor_gone_error
from sojourn.control_plane.store.packets import STORED
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.teller import Teller
from sojourn.sdk.protocol import MAX_INLINE_BYTES
from tests.contract.api.conftest import Tenant, deployment, executor
from tests.contract.api.worker_calls import ask, completed, drain


@pytest.fixture
def worker(platform: Platform, tenant: Tenant) -> Iterator[testing.TestClient]:
    """An executor of a version whose task `hooked` has hooks, and `plain` has none; nothing waits, or is to be told."""
    version = deploy(tenant)
    platform.endings.make_hook_runs(platform.clock(), 1_000)
    drain(executor(platform, tenant, version, "executor_drain"))
    platform.endings.make_hook_runs(platform.clock(), 1_000)
    drain(executor(platform, tenant, version, "executor_drain"))
    yield executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")
    faults.switch_on("")


def deploy(tenant: Tenant, source: str = "") -> str:
    body = deployment(["hooked", "plain"], source)
    body["manifest"]["tasks"][0] |= {"onEnd": True, "retry": {"maxAttempts": 1, "minTimeoutInMs": 86_400_000}}
    answer = tenant.client.simulate_post("/api/v1/deployments", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json["id"])


def hooks_of(platform: Platform, run: str) -> list[dict[str, Any]]:
    return platform.database.rows("SELECT * FROM runs WHERE hook_of = %s", run)


def tell(platform: Platform) -> None:
    """What the scheduler does once a second."""
    Teller(platform.endings).run_once(platform.clock())


def begin(worker: testing.TestClient, tenant: Tenant, **options: Any) -> dict[str, Any]:
    tenant.trigger("hooked", {"n": 1}, **options)
    return dict(ask(worker, wait=0, served=1)["work"])


def finish(worker: testing.TestClient, work: dict[str, Any], outcome: dict[str, Any]) -> None:
    ask(worker, wait=None, served=1, completion=completed(work, outcome))


ERROR = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no good", "stackTrace": ""}

# --- each way a run ends


def completes(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> str:
    work = begin(worker, tenant)
    finish(worker, work, {"ok": True, "output": '{"a":1}', "outputType": "application/json"})
    return str(work["run"]["id"])


def fails(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> str:
    work = begin(worker, tenant)
    finish(worker, work, {"ok": False, "error": ERROR, "skippedRetrying": True})
    return str(work["run"]["id"])


def times_out(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> str:
    work = begin(worker, tenant)
    error = {"type": "INTERNAL_ERROR", "code": "MAX_DURATION_EXCEEDED", "message": "5 s"}
    finish(worker, work, {"ok": False, "error": error})
    return str(work["run"]["id"])


def crashes(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> str:
    """Its executor is gone with its process: there is nobody to say anything."""
    work = begin(worker, tenant, maxAttempts=1)
    run = platform.runs.any(work["run"]["id"])
    assert run is not None
    assert platform.outcomes.lose(run, executor_gone_error("it was killed"), platform.clock())
    return run.id


def expires(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> str:
    run = tenant.trigger("hooked", {"n": 1}, ttl=1)
    assert platform.expiring.expire(platform.clock() + timedelta(seconds=2), 100) == 1
    return run


def is_cancelled_before_it_ran(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> str:
    run = tenant.trigger("hooked", {"n": 1})
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    return run


def is_cancelled(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> str:
    work = begin(worker, tenant)
    run = str(work["run"]["id"])
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    tell(platform)
    assert hooks_of(platform, run) == [], "it is still being stopped"
    error = {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CANCELLED", "message": ""}
    finish(worker, work, {"ok": False, "error": error, "skippedRetrying": True})
    return run


def is_never_taken_up(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> str:
    run = tenant.trigger("hooked", {"n": 1})
    work = ask(worker, wait=0, served=1)["work"]
    assert work["run"]["id"] == run
    error = {"type": "INTERNAL_ERROR", "code": "COULD_NOT_FIND_TASK", "message": "no such task"}
    finish(worker, work, {"ok": False, "error": error, "skippedRetrying": True})
    return run


ENDS: dict[str, Callable[[Platform, Tenant, testing.TestClient], str]] = {
    "COMPLETED": completes,
    "FAILED": fails,
    "TIMED_OUT": times_out,
    "CRASHED": crashes,
    "EXPIRED": expires,
    "CANCELED": is_cancelled,
    "CANCELED before it ran": is_cancelled_before_it_ran,
    "SYSTEM_FAILURE": is_never_taken_up,
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_calls_the_hooks_once(platform: Platform, tenant: Tenant, worker: testing.TestClient, name: str) -> None:
    status = name.split()[0]
    run = ENDS[name](platform, tenant, worker)
    ended = platform.runs.any(run)
    assert ended is not None and (ended.status, ended.snapshot_status) == (status, "FINISHED")
    tell(platform)
    tell(platform)
    [hook] = hooks_of(platform, run)
    work = ask(worker, wait=0, served=1)["work"]
    assert work["run"]["id"] == hook["id"] and work["task"]["id"] == "hooked"
    end = work["end"]
    assert (end["id"], end["status"], end["attempts"]) == (run, status, ended.attempt)
    assert json.loads(end["payload"]) == {"n": 1}
    assert json.loads(end["output"]) == {"a": 1} if status == "COMPLETED" else "output" not in end
    assert ("error" in end) == (ended.error is not None)
    finish(worker, work, {"ok": True, "output": "null", "outputType": "application/json"})
    tell(platform)
    assert len(hooks_of(platform, run)) == 1 and hooks_of(platform, hook["id"]) == [], "hooks have no hooks"


def test_a_batch_item_that_cannot_be_triggered(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    made = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 1})
    line = json.dumps({"index": 0, "task": "hooked", "payload": 1, "options": {"lockToVersion": "20010101.1"}})
    path = f"/api/v3/batches/{made.json['id']}/items"
    assert tenant.client.simulate_post(path, body=line, headers={"Content-Type": "application/x-ndjson"}).status_code == 200
    [item] = platform.database.rows("SELECT id, status FROM runs WHERE batch_id = %s", made.json["id"])
    assert item["status"] == "SYSTEM_FAILURE"
    tell(platform)
    assert len(hooks_of(platform, item["id"])) == 1


def test_a_task_without_hooks_costs_no_run(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger("plain")
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    tell(platform)
    assert hooks_of(platform, run) == []
    assert platform.database.rows("SELECT * FROM run_ends") == []


def test_a_task_that_no_version_has(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger("unknown-to-all", ttl=1)
    assert platform.expiring.expire(platform.clock() + timedelta(seconds=2), 100) == 1
    tell(platform)
    assert hooks_of(platform, run) == []


# --- exactly one, whoever is killed


def test_a_scheduler_that_dies_before_it_looks(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    """The row of the outbox is stored with the end."""
    run = expires(platform, tenant, worker)
    assert platform.database.rows("SELECT run_id FROM run_ends") == [{"run_id": run}]
    tell(platform)
    assert len(hooks_of(platform, run)) == 1 and platform.database.rows("SELECT * FROM run_ends") == []


def test_a_scheduler_that_dies_before_it_queues(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = expires(platform, tenant, worker)
    faults.switch_on("endings.after_store=raise:1")
    with pytest.raises(faults.InjectedFault):
        tell(platform)
    faults.switch_on("")
    tell(platform)
    [hook] = hooks_of(platform, run)
    assert "work" not in ask(worker, wait=0, served=1)
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert ask(worker, wait=0, served=1)["work"]["run"]["id"] == hook["id"]


def test_many_schedulers_at_once(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    runs = [is_cancelled_before_it_ran(platform, tenant, worker) for _ in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: tell(platform), range(8)))
    assert [len(hooks_of(platform, run)) for run in runs] == [1] * 20


def test_the_store_refuses_a_second_one(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = expires(platform, tenant, worker)
    tell(platform)
    platform.database.rows("INSERT INTO run_ends SELECT id, locked_version_id, now() FROM runs WHERE hook_of = %s", run)
    platform.database.rows("UPDATE run_ends SET run_id = %s", run)
    tell(platform)
    assert len(hooks_of(platform, run)) == 1


def test_a_hook_that_fails_is_tried_as_hooks_are(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    """Not as its task is: that has one attempt, and would wait for a day."""
    run = expires(platform, tenant, worker)
    tell(platform)
    attempts = 0
    while True:
        work = ask(worker, wait=0, served=1).get("work")
        if work is None:
            [hook] = hooks_of(platform, run)
            if hook["snapshot_status"] == "FINISHED":
                break
            due = hook["available_at"]
            assert due is not None and due - platform.clock() < timedelta(minutes=5)
            platform.expiring.queue_due(due, 100)
            continue
        attempts += 1
        assert work["retry"] == {} and work["maxDuration"] == endings.MAX_DURATION
        finish(worker, work, {"ok": False, "error": ERROR, "retry": {"delay": 60_000, "timestamp": 0}})
    assert attempts == endings.MAX_ATTEMPTS
    shown = timeline(tenant, run)["hook"]
    assert (shown["status"], shown["attempts"], shown["error"]["message"]) == ("FAILED", attempts, "no good")
    assert platform.runs.any(run).status == "EXPIRED"


# --- where it is seen


def timeline(tenant: Tenant, run: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v1/runs/{run}/timeline")
    TimelineReply.model_validate(answer.json)
    return dict(answer.json)


def test_a_hook_is_joined_to_its_run_and_in_no_list(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = expires(platform, tenant, worker)
    assert "hook" not in timeline(tenant, run)
    tell(platform)
    [hook] = hooks_of(platform, run)
    assert timeline(tenant, run)["hook"]["id"] == hook["id"]
    shown = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    RunReply.model_validate(shown)
    assert shown["relatedRuns"]["hook"]["id"] == hook["id"] and "children" not in shown["relatedRuns"]
    back = tenant.client.simulate_get(f"/api/v3/runs/{hook['id']}").json
    assert back["relatedRuns"]["hookOf"]["id"] == run and back["queue"]["name"] == "sojourn/hooks"
    listed = tenant.client.simulate_get("/api/v1/runs", params={"page[size]": "100"}).json["data"]
    assert run in [each["id"] for each in listed] and hook["id"] not in [each["id"] for each in listed]
    hooks = tenant.client.simulate_get("/api/v1/runs", params={"filter[hooks]": "true"}).json["data"]
    assert hooks[0]["id"] == hook["id"]


def test_a_hook_is_not_replayed(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = expires(platform, tenant, worker)
    tell(platform)
    [hook] = hooks_of(platform, run)
    answer = tenant.client.simulate_post(f"/api/v1/runs/{hook['id']}/replay")
    assert (answer.status_code, answer.json["code"]) == (422, "RUN_NOT_REPLAYABLE")


def test_strangers_see_nothing_of_it(
    platform: Platform, tenant: Tenant, stranger: Tenant, worker: testing.TestClient
) -> None:
    run = expires(platform, tenant, worker)
    tell(platform)
    [hook] = hooks_of(platform, run)
    assert stranger.client.simulate_get(f"/api/v3/runs/{hook['id']}").status_code == 404
    assert stranger.client.simulate_get("/api/v1/runs", params={"filter[hooks]": "true"}).json["data"] == []


def test_a_run_is_kept_until_its_hooks_are_called(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = is_cancelled_before_it_ran(platform, tenant, worker)
    later = platform.clock() + timedelta(days=1)
    assert kept(platform, tenant, run, later)
    tell(platform)
    assert kept(platform, tenant, run, later)
    finish(worker, ask(worker, wait=0, served=1)["work"], {"ok": True, "output": "null", "outputType": "application/json"})
    assert not kept(platform, tenant, run, later)


def kept(platform: Platform, tenant: Tenant, run: str, later: datetime) -> bool:
    platform.runs.remove_finished(tenant.environment, later, 10_000)
    return platform.runs.any(run) is not None


def test_the_hooks_are_those_of_the_runs_version(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begin(worker, tenant)
    tenant.deploy(["hooked"], "a newer version, whose task has no hooks")
    finish(worker, work, {"ok": False, "error": ERROR, "skippedRetrying": True})
    tell(platform)
    [hook] = hooks_of(platform, work["run"]["id"])
    assert hook["locked_version_id"] == work["deployment"]["id"]
    fresh = tenant.trigger("hooked", ttl=1)
    platform.expiring.expire(platform.clock() + timedelta(seconds=2), 100)
    tell(platform)
    assert hooks_of(platform, fresh) == []


# --- any order of events


STEPS = ("end", "tell", "die", "sweep", "work")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=some.lists(some.sampled_from(STEPS), max_size=12))
def test_each_end_has_its_hooks_called_once_whatever_happens_in_between(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, steps: list[str]
) -> None:
    """Runs end, schedulers look, die half-way, sweep; executors do what there is. In the end all is told, and once."""
    ended: list[str] = []
    for step in (*steps, "tell", "sweep"):
        faults.switch_on("endings.after_store=raise:1" if step == "die" else "")
        if step == "end":
            ended.append(is_cancelled_before_it_ran(platform, tenant, worker))
        elif step == "die":
            try:
                tell(platform)
            except faults.InjectedFault:
                continue
        elif step == "tell":
            tell(platform)
        elif step == "sweep":
            platform.recovery.sweep(tenant.organization, platform.clock())
        else:
            drain(worker)
    drain(worker)
    for run in ended:
        [hook] = hooks_of(platform, run)
        assert hook["status"] == "COMPLETED"
    assert platform.checks.check(platform.clock()) == []


def test_fsck_finds_an_end_that_nobody_tells(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = is_cancelled_before_it_ran(platform, tenant, worker)
    found = platform.checks.check(platform.clock() + timedelta(hours=1))
    assert ("I5", run) in [(each.invariant, each.run) for each in found]
    tell(platform)
    found = platform.checks.check(platform.clock() + timedelta(hours=1))
    assert ("I5", run) not in [(each.invariant, each.run) for each in found]


# --- what bounds them, and what they are told of large texts


def test_their_queue_can_be_paused(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = is_cancelled_before_it_ran(platform, tenant, worker)
    tell(platform)
    path = "/api/v1/queues/sojourn%2Fhooks/pause"
    paused = tenant.client.simulate_post(path, json={"type": "custom", "action": "pause"})
    assert paused.status_code == 200, paused.text
    assert "work" not in ask(worker, wait=0, served=1)
    assert tenant.client.simulate_post(path, json={"type": "custom", "action": "resume"}).status_code == 200
    assert ask(worker, wait=0, served=1)["work"]["end"]["id"] == run


def test_one_that_never_has_its_turn_expires(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    """So that the run that has ended is not kept for ever."""
    run = is_cancelled_before_it_ran(platform, tenant, worker)
    tell(platform)
    now = platform.clock()
    platform.expiring.expire(now + endings.LONGEST_WAIT - timedelta(minutes=1), 1_000)
    assert hooks_of(platform, run)[0]["status"] == "QUEUED"
    platform.expiring.expire(now + endings.LONGEST_WAIT + timedelta(minutes=1), 1_000)
    [hook] = hooks_of(platform, run)
    assert (hook["status"], hook["snapshot_status"]) == ("EXPIRED", "FINISHED")
    tell(platform)
    assert hooks_of(platform, hook["id"]) == [] and platform.database.rows("SELECT * FROM run_ends") == []
    assert not kept(platform, tenant, run, now + timedelta(days=4))


def test_one_that_has_begun_and_waits_in_a_paused_queue_expires(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    """Its first attempt failed, and the queue was paused meanwhile: the run that has ended is not kept for ever either."""
    run = is_cancelled_before_it_ran(platform, tenant, worker)
    tell(platform)
    work = ask(worker, wait=0, served=1)["work"]
    failed = {"ok": False, "error": {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no"},
              "retry": {"delay": 60_000, "timestamp": 0}}  # fmt: skip
    finish(worker, work, failed)
    path = "/api/v1/queues/sojourn%2Fhooks/pause"
    assert tenant.client.simulate_post(path, json={"type": "custom", "action": "pause"}).status_code == 200
    late = platform.clock() + timedelta(days=5)
    assert platform.expiring.expire(late, 1_000) == 0, "it waits for its retry, not for its turn"
    assert platform.expiring.queue_due(late, 1_000) == 1
    [hook] = hooks_of(platform, run)
    assert (hook["snapshot_status"], hook["attempt"]) == ("QUEUED", 1)
    platform.expiring.expire(late + endings.LONGEST_WAIT - timedelta(minutes=1), 1_000)
    assert kept(platform, tenant, run, late + timedelta(days=2))
    assert platform.expiring.expire(late + endings.LONGEST_WAIT + timedelta(minutes=1), 1_000) == 1
    [hook] = hooks_of(platform, run)
    assert (hook["status"], hook["snapshot_status"]) == ("EXPIRED", "FINISHED")
    assert not kept(platform, tenant, run, late + timedelta(days=9))
    assert tenant.client.simulate_post(path, json={"type": "custom", "action": "resume"}).status_code == 200
    assert "work" not in ask(worker, wait=0, served=1)


def test_what_a_hook_triggers_is_one_deeper(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    """A hook that triggers its own task goes on for ever; the depth says how far it is."""
    first = run = is_cancelled_before_it_ran(platform, tenant, worker)
    for depth in (2, 4):
        tell(platform)
        work = ask(worker, wait=0, served=1)["work"]
        assert work["end"]["id"] == run and work["run"]["rootTaskRunId"] == first
        run = tenant.trigger("hooked", parentRunId=work["run"]["id"])
        finish(worker, work, {"ok": True, "output": "null", "outputType": "application/json"})
        made = platform.runs.any(run)
        assert made is not None and (made.depth, made.root_run_id) == (depth, first)
        tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")


def test_large_texts_reach_hooks_whole(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    """They lie in the object store, and a run has their names alone."""
    large = {"text": "x" * (MAX_INLINE_BYTES + 1)}
    tenant.trigger("hooked", large)
    work = ask(worker, wait=0, served=1)["work"]
    finish(worker, work, {"ok": True, "output": json.dumps(large), "outputType": "application/json"})
    ended = platform.runs.any(work["run"]["id"])
    assert ended is not None and ended.payload_type == ended.output_type == STORED
    tell(platform)
    end = ask(worker, wait=0, served=1)["work"]["end"]
    assert json.loads(end["payload"]) == json.loads(end["output"]) == large
    assert end["payloadType"] == end["outputType"] == "application/json"
