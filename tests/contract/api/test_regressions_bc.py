"""What other platforms got wrong about duplicate, stale and stuck runs (reliability sheet, B and C), one test each.

What is tried at length elsewhere is here in its smallest form: interleavings in `test_wait_races.py`, processes that are
paused or cut off in `tests/acceptance`, Nomad's own in `test_nomad_faults.py`. B3, B5, B9, C2, C7, C9, C10, C12 and C14:
`test_regressions_more.py`.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sojourn.control_plane.store.database import AdvisoryLock, StoreUnavailable
from sojourn.control_plane.store.waits import Completion
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.reaper import Reaper
from tests.contract.api.conftest import Tenant, executor, next_order
from tests.contract.api.frozen_runs import began
from tests.support.freezing import Player, soon
from tests.support.stack import until

Play = Callable[[], Player]
OK = {"ok": True, "output": "1", "outputType": "application/json"}


@pytest.fixture
def version(tenant: Tenant, platform: Platform) -> str:
    for table in ("run_waits", "waitpoints", "batch_items", "batches", "snapshots", "runs"):
        platform.database.rows(f"DELETE FROM {table}")
    platform.redis.flushall()
    platform.recovery.rebuild(tenant.organization, platform.clock())
    return str(tenant.deploy(["hello"])["id"])


@pytest.fixture
def play(platform: Platform, tenant: Tenant, version: str) -> Play:
    return lambda: Player(executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}"))


@pytest.fixture
def reaper(platform: Platform) -> Reaper:
    return Reaper(platform.runs, platform.outcomes, lambda _: None, lease=timedelta(seconds=60), seconds=10)


def events(platform: Platform, run: str) -> list[str]:
    return [row.event for row in platform.runs.history(run)]


def later(platform: Platform) -> Any:
    """When every lease is over."""
    return platform.clock() + timedelta(hours=2)


def lost(platform: Platform, reaper: Reaper) -> None:
    """Every lease has lapsed, and what is to be tried again waits in the queue."""
    assert any(reaper.run_once(later(platform)).values())
    platform.expiring.queue_due(later(platform) + timedelta(hours=1), 10)


def at_once(count: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


# --- B: done twice, or by one that is late


def test_b1_a_delay_longer_than_any_lease_starts_once(platform: Platform, tenant: Tenant, play: Play) -> None:
    run = tenant.trigger(delay="1h")
    due = later(platform)
    assert platform.expiring.queue_due(platform.clock(), 10) == 0
    at_once(3, lambda: platform.expiring.queue_due(due, 10))
    assert events(platform, run) == ["TRIGGER_DELAYED", "DUE"]


def test_b2_a_result_that_comes_after_the_lease_is_refused(
    platform: Platform, tenant: Tenant, play: Play, reaper: Reaper
) -> None:
    slow, run = began(play, tenant)
    lost(platform, reaper)
    other = play()
    assert other.next()["work"]["run"]["id"] == run
    assert slow.complete({**OK, "output": "2"})["result"] == "STALE"
    other.complete(OK)
    found = platform.runs.any(run)
    assert found and (found.status, found.output) == ("COMPLETED", "1")
    assert events(platform, run).count("SUCCEED") == 1


def test_b4_a_sweep_of_a_scheduler_that_starts_again_moves_no_run_that_lives(
    platform: Platform, tenant: Tenant, play: Play, reaper: Reaper
) -> None:
    _, run = began(play, tenant)
    before = events(platform, run)
    platform.recovery.rebuild(tenant.organization, platform.clock())
    platform.recovery.sweep(tenant.organization, platform.clock())
    reaper.run_once(platform.clock())
    assert events(platform, run) == before
    assert "work" not in play().next(wait=0)


def test_b6_a_heartbeat_of_an_earlier_attempt_renews_nothing(
    platform: Platform, tenant: Tenant, play: Play, reaper: Reaper
) -> None:
    slow, run = began(play, tenant)
    old = slow.held()
    lost(platform, reaper)
    assert play().next()["work"]["run"]["id"] == run
    lease = platform.runs.any(run)
    answer = slow.post("heartbeat", old)
    # It is answered, and not refused by 409: the answer is how a process that is late hears what became of its run.
    assert answer.status_code == 200
    now = platform.runs.any(run)
    assert answer.json["state"] != "continue" and lease and now
    assert (now.lease_until, now.snapshot) == (lease.lease_until, lease.snapshot)


def test_b7_messages_that_are_delivered_three_times_count_once(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    completion = player.held(attempt=1, outcome=OK, usageMs=5, logs=[])
    for _ in range(3):
        answer = player.post("next", {"wait": None, "served": 1, "completion": completion})
        assert (answer.status_code, answer.json["completion"]["result"]) == (200, "RUN_FINISHED")
    assert events(platform, run) == ["TRIGGER", "DEQUEUE", "START", "SUCCEED"]


def test_b8_of_many_that_take_one_run_one_has_it(platform: Platform, tenant: Tenant, play: Play) -> None:
    run = tenant.trigger()
    given: list[dict[str, Any]] = []
    at_once(20, lambda: given.append(play().next(wait=0)))
    assert [each["work"]["run"]["id"] for each in given if "work" in each] == [run]
    assert events(platform, run).count("START") == 1


def test_b10_two_releases_beside_each_other_have_one_leader(platform: Platform) -> None:
    locks = [AdvisoryLock(platform.config.database_url, 7_340_999, 5) for _ in range(2)]
    assert [lock.held() for lock in locks] == [True, False]
    locks[0].release()
    until(locks[1].held, 60, "the other leads, when the server has seen the end of the first one's connection")
    locks[1].release()


def test_b11_a_tick_is_one_run_however_many_look(platform: Platform, tenant: Tenant, version: str) -> None:
    body = {"task": "hello", "cron": "*/5 * * * *", "deduplicationKey": "b11"}
    schedule = tenant.client.simulate_post("/api/v1/schedules", json=body).json["id"]
    row = platform.database.rows("SELECT next_tick FROM schedules WHERE id = %s", schedule)[0]
    at_once(3, lambda: platform.ticking.fire_due(row["next_tick"], 10))
    runs = platform.database.rows("SELECT scheduled_at FROM runs WHERE schedule_id = %s", schedule)
    assert [each["scheduled_at"] for each in runs] == [row["next_tick"]]
    tenant.client.simulate_delete(f"/api/v1/schedules/{schedule}")


# --- C: lost wake-ups, stuck for ever


def test_c1_a_wait_that_ends_while_it_is_begun_blocks_nobody(platform: Platform, tenant: Tenant, play: Play) -> None:
    token = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={}).json["id"]
    player, run = began(play, tenant)
    complete = platform.waiting.complete

    def meanwhile() -> None:
        now = platform.clock()
        complete([Completion(now, "api", waitpoint=token, output="1")], now)

    threads = [threading.Thread(target=meanwhile)]
    threads[0].start()
    wish = {"key": "1:a", "kind": "token", "waitpoint": token}
    player.post("wait", player.held(waits=[wish], pending=["1:a"], block="all"))
    threads[0].join(30)
    found = platform.runs.any(run)
    assert found
    if found.snapshot_status == "EXECUTING_WITH_WAITPOINTS":
        platform.waiting.go_on([run], platform.clock())
        found = platform.runs.any(run)
    assert found and found.snapshot_status in ("EXECUTING", "QUEUED_EXECUTING")


def test_c3_what_a_run_goes_on_with_can_be_read_again(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, _ = began(play, tenant)
    key = player.block(soon(platform.clock()))
    pending = platform.database.rows("SELECT id FROM waitpoints WHERE status = 'PENDING'")
    now = platform.clock()
    platform.waiting.complete([Completion(now, "date", waitpoint=row["id"]) for row in pending], now)

    assert platform.placing.readmit(platform.clock()) == 1
    told = [player.post("heartbeat", player.held(pending=[key])).json for _ in range(3)]  # the answer is lost twice
    assert told[0]["done"][key]["ok"] is True and told == [told[0]] * 3


def test_c4_a_lost_executor_costs_a_frozen_run_nothing_that_it_had(
    platform: Platform, tenant: Tenant, play: Play, reaper: Reaper
) -> None:
    body = {"items": [{"task": "hello", "options": {"tags": ["kept"], "metadata": {"n": 1}}}]}
    batch = tenant.client.simulate_post("/api/v2/tasks/batch", json=body).json["id"]
    player = play()
    run = player.next()["work"]["run"]["id"]
    frozen = player.freeze(soon(platform.clock()))
    pending = platform.database.rows("SELECT id FROM waitpoints WHERE status = 'PENDING'")
    platform.waiting.complete(
        [Completion(platform.clock(), "date", waitpoint=row["id"]) for row in pending], platform.clock()
    )
    assert "work" in play().next()
    reaper.run_once(later(platform))
    found = platform.runs.any(run)
    assert found and (found.checkpoint_id, found.batch_id, found.tags) == (frozen.checkpoint, batch, ["kept"])
    assert found.metadata and json.loads(found.metadata) == {"n": 1} and found.wait_keys


def test_c5_a_batch_whose_items_do_not_come_has_an_end(platform: Platform, tenant: Tenant, version: str) -> None:
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 2}).json["id"]
    line = json.dumps({"index": 0, "task": "hello"})
    headers = {"Content-Type": "application/x-ndjson"}
    tenant.client.simulate_post(f"/api/v3/batches/{batch}/items", body=line, headers=headers)
    platform.batches.sweep(later(platform) + timedelta(days=1), 10)
    assert tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["status"] == "ABORTED"


def test_c6_a_store_that_is_away_kills_no_run(
    platform: Platform, tenant: Tenant, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    player, run = began(play, tenant)

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(platform.database, "rows", away)
        patched.setattr(platform.database, "call", away)
        for path, body in (
            ("heartbeat", player.held()),
            ("wait", player.held(waits=[], pending=[], block="all")),
            ("next", {"wait": None, "served": 1, "completion": player.held(attempt=1, outcome=OK, usageMs=5, logs=[])}),
        ):
            answer = player.post(path, body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
    assert events(platform, run)[-1] == "START"
    assert player.complete(OK)["result"] == "RUN_FINISHED"


def test_c8_a_run_that_was_dequeued_and_never_starts_is_given_to_another(
    platform: Platform, tenant: Tenant, play: Play, reaper: Reaper
) -> None:
    run = tenant.trigger()
    assert next_order(platform).run.id == run
    assert events(platform, run)[-1] == "DEQUEUE"
    reaper.run_once(later(platform))
    assert events(platform, run)[-1] == "REQUEUE"
    assert play().next()["work"]["run"]["id"] == run


@pytest.mark.parametrize(
    "outcome",
    [
        {"ok": True, "output": '"\\u0000"'},
        {"ok": True, "output": '"\x00"'},
        {"ok": True, "output": '"\\ud800"'},
        {"ok": True, "output": "NaN"},
        {"ok": True, "output": "1" + "0" * 400},
        {"ok": True, "output": "[" * 2_000 + "]" * 2_000},
        {"ok": True, "output": "not JSON"},
        {"ok": False, "error": {"type": "BUILT_IN_ERROR", "name": "\x00", "message": "\ud800"}, "skippedRetrying": True},
        {"ok": False, "error": {"type": "STRING_ERROR", "raw": "x" * 1_000_000}, "skippedRetrying": True},
        {"ok": False, "error": {"nonsense": [1, {}]}, "skippedRetrying": True},
    ],
)
def test_c11_whatever_a_task_gives_its_run_ends(
    platform: Platform, tenant: Tenant, play: Play, outcome: dict[str, Any]
) -> None:
    player, run = began(play, tenant)
    completion = player.held(attempt=1, outcome=outcome, usageMs=5, logs=[])
    body = json.dumps({"wait": None, "served": 1, "completion": completion})
    answer = player.client.simulate_post("/worker/v1/next", body=body)
    assert answer.status_code == 200, answer.text
    found = platform.runs.any(run)
    assert found and found.snapshot_status == "FINISHED"
    assert tenant.client.simulate_get(f"/api/v3/runs/{run}").status_code == 200
    assert tenant.client.simulate_get(f"/api/v1/runs/{run}/trace").status_code == 200
    assert tenant.client.simulate_get("/api/v1/runs").status_code == 200


def test_c13_a_run_that_is_out_of_memory_again_and_again_has_an_end(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant, maxAttempts=2)
    error = {"type": "INTERNAL_ERROR", "code": "TASK_PROCESS_OOM_KILLED", "message": "too much"}
    for _ in range(20):
        player.complete({"ok": False, "error": error})
        platform.expiring.queue_due(later(platform), 10)
        found = platform.runs.any(run)
        assert found
        if found.snapshot_status == "FINISHED":
            break
        if found.snapshot_status == "PENDING_EXECUTING":
            player.work = player.post("start", player.held(snapshot=found.snapshot)).json["work"]
        else:
            player = play()
            player.next()
    assert found.snapshot_status == "FINISHED" and found.attempt <= 2
