"""Ticks become runs once each: whoever looks, wherever one is cut off, and as each schedule's policies say."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from random import Random
from typing import Any

import pytest

from sojourn.control_plane import faults
from sojourn.control_plane.domain import cron
from sojourn.control_plane.engine.ticking import Ticking
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.store.records import Schedule
from sojourn.control_plane.store.schedules import Schedules
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.ticker import Ticker
from tests.contract.api.conftest import Tenant, deployment
from tests.support.stack import until

MINUTE = timedelta(minutes=1)
#: Far ahead, so that only what a test puts there is due by then.
BEGIN = datetime(2031, 1, 1, tzinfo=UTC)
_POINTS = ("ticking.before_commit", "ticking.after_store")


@pytest.fixture(autouse=True)
def alone(platform: Platform, tenant: Tenant) -> Iterator[None]:
    """Each test has its schedules, and no others."""
    tenant.deploy(["report"])
    yield
    faults.switch_on("")
    platform.database.rows("DELETE FROM schedules")


def schedule(platform: Platform, tenant: Tenant, expression: str = "* * * * *", **more: Any) -> Schedule:
    """A schedule whose first tick is the one at BEGIN."""
    body = {"task": "report", "cron": expression, "deduplicationKey": secrets.token_hex(8)} | more
    answer = tenant.client.simulate_post("/api/v1/schedules", json=body)
    assert answer.status_code == 200, answer.text
    platform.database.rows(
        "UPDATE schedules SET next_tick = %s, due_at = %s WHERE id = %s", BEGIN, BEGIN, answer.json["id"]
    )
    return find(platform, answer.json["id"])


def find(platform: Platform, schedule_id: str) -> Schedule:
    environment = platform.database.rows("SELECT environment_id AS id FROM schedules WHERE id = %s", schedule_id)[0]["id"]
    found = platform.stored_schedules.find(environment, schedule_id)
    assert found is not None
    return found


def runs_of(platform: Platform, schedule: Schedule) -> list[dict[str, Any]]:
    """A schedule's runs by their ticks."""
    return platform.database.rows("SELECT * FROM runs WHERE schedule_id = %s ORDER BY scheduled_at", schedule.id)


def minutes(platform: Platform, schedule: Schedule) -> list[int]:
    """The ticks that became runs, in minutes after BEGIN."""
    return [round((run["scheduled_at"] - BEGIN) / MINUTE) for run in runs_of(platform, schedule)]


def end(tenant: Tenant, run_id: str) -> None:
    assert tenant.client.simulate_post(f"/api/v2/runs/{run_id}/cancel").status_code == 200


def fire(platform: Platform, after: float, limit: int = 500) -> int:
    """What a look so many minutes after BEGIN makes."""
    return platform.ticking.fire_due(BEGIN + after * MINUTE, limit).fired


# --- what a run is given


def test_a_tick_becomes_a_run(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant, "*/5 * * * *", timezone="Asia/Kolkata", externalId="customer-7")
    assert fire(platform, -0.01) == 0
    assert fire(platform, 0) == 1
    (run,) = runs_of(platform, made)
    assert (run["status"], run["source"], run["scheduled_at"]) == ("QUEUED", "schedule", BEGIN)
    assert json.loads(run["payload"]) == {
        "scheduleId": made.id, "type": "IMPERATIVE", "timestamp": "2031-01-01T00:00:00.000Z",
        "externalId": "customer-7", "timezone": "Asia/Kolkata",
        "upcoming": [f"2031-01-01T00:{minute:02}:00.000Z" for minute in (5, 10, 15, 20, 25)],
    }  # fmt: skip
    stands = find(platform, made.id)
    assert (stands.last_tick, stands.next_tick, stands.due_at) == (BEGIN, BEGIN + 5 * MINUTE, BEGIN + 5 * MINUTE)
    assert fire(platform, 4.99) == 0 and fire(platform, 5) == 1
    assert json.loads(runs_of(platform, made)[1]["payload"])["lastTimestamp"] == "2031-01-01T00:00:00.000Z"
    assert platform.queue.size(tenant.organization) >= 2


def test_what_is_switched_off_or_deleted_fires_nothing(platform: Platform, tenant: Tenant) -> None:
    off, gone = schedule(platform, tenant), schedule(platform, tenant)
    tenant.client.simulate_post(f"/api/v1/schedules/{off.id}/deactivate")
    tenant.client.simulate_delete(f"/api/v1/schedules/{gone.id}")
    assert fire(platform, 3) == 0


def test_a_task_that_is_deployed_no_longer_is_not_triggered(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant)
    tenant.deploy(["other"])
    assert fire(platform, 0) == 0
    stands = find(platform, made.id)
    assert (stands.last_tick, stands.next_tick) == (None, BEGIN + MINUTE)
    tenant.deploy(["report"], "again")
    assert fire(platform, 1) == 1 and minutes(platform, made) == [1]


def test_a_window_makes_it_fire_later(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant, "0 * * * *", window="50%")
    platform.database.rows("UPDATE schedules SET phase = %s WHERE id = %s", 2**30, made.id)
    assert fire(platform, 14) == 0
    assert find(platform, made.id).due_at == BEGIN + 15 * MINUTE
    assert fire(platform, 15) == 1
    assert runs_of(platform, made)[0]["scheduled_at"] == BEGIN


def test_a_zone_that_is_gone_holds_up_nobody(platform: Platform, tenant: Tenant) -> None:
    broken, whole = schedule(platform, tenant), schedule(platform, tenant)
    platform.database.rows("UPDATE schedules SET timezone = 'Mars/Base' WHERE id = %s", broken.id)
    assert fire(platform, 0) == 1 and minutes(platform, whole) == [0]
    assert find(platform, broken.id).due_at == BEGIN + 60 * MINUTE


def test_many_at_once_are_made_in_batches(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant)
    more = [replace(made, id=f"sched_{n:026}", deduplication_key=str(n)) for n in range(1_200)]
    assert len(platform.stored_schedules.insert(more)) == 1_200
    ticker, fired = Ticker(platform.ticking), []
    while True:
        fired.append(ticker.run_once(BEGIN)["fired"])
        if ticker.interval(BEGIN) > 0:
            break
    assert fired == [500, 500, 201]
    counts = platform.database.rows(
        "SELECT count(*) AS runs, count(DISTINCT schedule_id) AS schedules, min(created_at) AS first FROM runs"
        " WHERE scheduled_at = %s AND (schedule_id = %s OR schedule_id LIKE 'sched_0000%%')",
        BEGIN,
        made.id,
    )
    assert counts == [{"runs": 1_201, "schedules": 1_201, "first": BEGIN}]
    platform.database.rows("DELETE FROM runs WHERE schedule_id LIKE 'sched_0000%%'")


def test_fsck_finds_a_schedule_that_nobody_looks_at(platform: Platform, tenant: Tenant, sibling: Tenant) -> None:
    made = schedule(platform, tenant)
    assert made.id not in [each.run for each in platform.checks.check(platform.clock())]
    platform.database.rows("UPDATE schedules SET due_at = '2026-01-01' WHERE id = %s", made.id)
    assert fire(platform, 0) == 1
    (run,) = runs_of(platform, made)
    platform.database.rows(
        "UPDATE schedules SET due_at = '2026-01-01', environment_id = %s WHERE id = %s", sibling.environment, made.id
    )
    found = [(each.invariant, each.run) for each in platform.checks.check(platform.clock())]
    assert {("I5", made.id), ("I19", run["id"])} <= {*found}


# --- overlapping


def test_skip(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant, overlap="skip")
    assert [fire(platform, 0), fire(platform, 1), fire(platform, 2)] == [1, 0, 0]
    end(tenant, runs_of(platform, made)[0]["id"])
    assert fire(platform, 3) == 1 and minutes(platform, made) == [0, 3]


def test_queue(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant, overlap="queue", catchUp="none")
    assert [fire(platform, 0), fire(platform, 1), fire(platform, 3)] == [1, 0, 0]
    for moment, expected in ((5, [0, 1]), (7, [0, 1, 2]), (9, [0, 1, 2, 3])):
        end(tenant, runs_of(platform, made)[-1]["id"])
        assert fire(platform, moment) == 1 and minutes(platform, made) == expected
        assert fire(platform, moment) == 0


def test_what_is_held_fires_as_soon_as_its_run_is_over(platform: Platform, tenant: Tenant) -> None:
    made, ticker = schedule(platform, tenant, overlap="queue"), Ticker(platform.ticking)
    assert (fire(platform, 0), fire(platform, 1)) == (1, 0)
    assert find(platform, made.id).due_at == BEGIN + 2 * MINUTE
    shown = tenant.client.simulate_get(f"/api/v1/schedules/{made.id}").json
    assert shown["nextRun"] == "2031-01-01T00:01:00.000Z" and "nextRunEffectiveAt" not in shown
    soon = BEGIN + MINUTE + timedelta(seconds=1)
    assert ticker.run_once(soon)["fired"] == 0 and ticker.interval(soon) == 1
    end(tenant, runs_of(platform, made)[0]["id"])
    assert ticker.run_once(soon)["fired"] == 1 and minutes(platform, made) == [0, 1]
    assert ticker.interval(soon) == 5


@pytest.mark.parametrize(("overlap", "expected"), [("allow", [0, 1, 2]), ("queue", [0]), ("skip", [0]), ("replace", [0])])
def test_what_is_held_is_looked_at_when_the_overlap_changes(
    platform: Platform, tenant: Tenant, overlap: str, expected: list[int]
) -> None:
    """Two ticks stand in line behind a run; what is said of overlaps now holds for them, before the next tick comes."""
    made = schedule(platform, tenant, overlap="queue")
    assert [fire(platform, 0), fire(platform, 1), fire(platform, 2)] == [1, 0, 0]
    body = {"task": "report", "cron": made.cron, "overlap": overlap}
    assert tenant.client.simulate_put(f"/api/v1/schedules/{made.id}", json=body).status_code == 200
    fire(platform, 2.5)
    assert minutes(platform, made) == expected
    stands = find(platform, made.id)
    assert stands.held is (overlap in ("queue", "replace"))
    if not stands.held:
        assert fire(platform, 3) == (overlap == "allow")


def test_replace(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant, overlap="replace")
    assert fire(platform, 0) == 1
    (first,) = runs_of(platform, made)
    assert fire(platform, 1) == 0
    assert runs_of(platform, made)[0]["status"] == "CANCELED"
    assert fire(platform, 1.1) == 1
    assert [(run["id"] == first["id"], run["status"]) for run in runs_of(platform, made)] == [
        (True, "CANCELED"), (False, "QUEUED"),
    ]  # fmt: skip


def test_replace_waits_until_the_process_has_ended(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant, overlap="replace")
    assert fire(platform, 0) == 1
    (first,) = runs_of(platform, made)
    platform.database.rows(
        "UPDATE runs SET snapshot_status = 'PENDING_CANCEL', status = 'CANCELED', lease_until = now() WHERE id = %s",
        first["id"],
    )
    assert fire(platform, 1) == 0 and fire(platform, 2) == 0
    assert find(platform, made.id).held
    platform.database.rows("UPDATE runs SET snapshot_status = 'FINISHED', finished_at = now() WHERE id = %s", first["id"])
    assert fire(platform, 3) == 1 and minutes(platform, made) == [0, 3]


def test_what_fills_in_the_past_is_no_overlap(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant, "0 0 * * *", overlap="skip")
    body = {"from": "2026-01-01", "to": "2026-01-03"}
    assert tenant.client.simulate_post(f"/api/v1/schedules/{made.id}/backfill", json=body).json["created"] == 3
    assert fire(platform, 0) == 1


# --- missed


@pytest.mark.parametrize(("catch_up", "expected"), [("none", []), ("last", [30]), ("all", list(range(31)))])
def test_after_a_long_silence(platform: Platform, tenant: Tenant, catch_up: str, expected: list[int]) -> None:
    made = schedule(platform, tenant, catchUp=catch_up)
    if catch_up == "none":
        platform.database.rows("UPDATE schedules SET cron = '0 * * * *' WHERE id = %s", made.id)
    assert fire(platform, 30.5) == len(expected)
    assert minutes(platform, made) == expected


# --- once each


def at_point(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], Any]) -> None:
    """Something happens at a point, the first time that it is come to, in a thread of its own."""
    left = [name]

    def point(passed: str) -> None:
        if left == [passed]:
            left.clear()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(act).result(30)

    monkeypatch.setattr(faults, "point", point)


@pytest.mark.parametrize("name", _POINTS)
def test_another_scheduler_looks_meanwhile(
    platform: Platform, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = schedule(platform, tenant)
    others: list[int] = []
    at_point(monkeypatch, name, lambda: others.append(fire(platform, 0)))
    assert fire(platform, 0) == 1
    assert others == [0] and minutes(platform, made) == [0]


def test_another_scheduler_was_faster(platform: Platform, tenant: Tenant) -> None:
    class Slow(Schedules):
        """Another one fires everything between this one's look and its lock."""

        def due(self, now: datetime, limit: int) -> list[Schedule]:
            found = super().due(now, limit)
            assert fire(platform, 0) == 1
            return found

    made = schedule(platform, tenant)
    slow = ticking(platform, Slow(platform.database))
    assert slow.fire_due(BEGIN, 500).fired == 0 and minutes(platform, made) == [0]


def ticking(platform: Platform, schedules: Schedules) -> Ticking:
    parts = platform.runs, platform.access, platform.triggering, platform.cancelling
    return Ticking(platform.database, schedules, *parts)


def test_a_scheduler_that_is_paused_keeps_nothing_from_others(
    platform: Platform, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = schedule(platform, tenant)
    others: list[int] = []

    def paused(name: str) -> None:
        """Until the server has had enough of it; then another scheduler takes its turn."""
        if others or name != "ticking.before_commit":
            return
        others.append(0)
        pid = platform.database.rows("SELECT pg_backend_pid() AS pid")[0]["pid"]
        with ThreadPoolExecutor(1) as pool:
            pool.submit(until, lambda: gone(platform, pid), 30, "its session is ended").result()
            others.append(pool.submit(fire, platform, 0).result(30))

    monkeypatch.setattr(faults, "point", paused)
    with pytest.raises(StoreUnavailable):
        ticking(platform, Schedules(platform.database, patience=0.1)).fire_due(BEGIN, 500)
    assert others == [0, 1] and minutes(platform, made) == [0]


def gone(platform: Platform, pid: int) -> bool:
    return not platform.database.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid)


def test_a_crash_before_the_commit_leaves_the_tick_due(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant)
    faults.switch_on("ticking.before_commit=raise:1")
    with pytest.raises(faults.InjectedFault):
        fire(platform, 0)
    faults.switch_on("")
    assert minutes(platform, made) == [] and find(platform, made.id) == made
    assert fire(platform, 0) == 1 and minutes(platform, made) == [0]


def test_a_crash_after_it_leaves_a_run_that_the_sweep_queues(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant)
    faults.switch_on("ticking.after_store=raise:1")
    with pytest.raises(faults.InjectedFault):
        fire(platform, 0)
    faults.switch_on("")
    assert fire(platform, 0) == 0
    (run,) = runs_of(platform, made)
    assert platform.queue.members(tenant.organization, [run["id"]]) == [None]
    platform.recovery.sweep(tenant.organization, platform.clock())
    assert platform.queue.members(tenant.organization, [run["id"]]) != [None]


def test_a_tick_that_was_filled_in_already_makes_no_second_run(platform: Platform, tenant: Tenant) -> None:
    made = schedule(platform, tenant)
    assert fire(platform, 0) == 1
    platform.database.rows("UPDATE schedules SET next_tick = %s, due_at = %s WHERE id = %s", BEGIN, BEGIN, made.id)
    assert fire(platform, 0) == 0 and minutes(platform, made) == [0]


def test_nobody_waits_for_another_in_a_circle(platform: Platform, tenant: Tenant) -> None:
    """Deployments, changes, back-fills and schedulers over the same schedules, all at once."""
    made = [schedule(platform, tenant, catchUp="all") for _ in range(5)]
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"}

    def deploy(n: int) -> int:
        body = deployment(["report", "declared"], source=str(n))
        body["manifest"]["tasks"][1]["schedule"] = {"cron": f"{n} * * * *"}
        return tenant.client.simulate_post("/api/v1/deployments", json=body).status_code

    def change(n: int) -> int:
        each = made[n % 5]
        body = {"task": "report", "cron": "* * * * *", "catchUp": "all", "externalId": str(n)}
        return tenant.client.simulate_put(f"/api/v1/schedules/{each.id}", json=body).status_code

    def fill(n: int) -> int:
        each = made[n % 2]
        return tenant.client.simulate_post(f"/api/v1/schedules/{each.id}/backfill", json=span).status_code

    def look(n: int) -> int:
        return 200 if fire(platform, n, limit=3) >= 0 else 500

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(act, n) for n in range(12) for act in (deploy, change, fill, look, fill, look)]
        assert {each.result(60) for each in done} == {200}
    while fire(platform, 12):
        pass
    for n, each in enumerate(made):
        ticks = [run["scheduled_at"] for run in runs_of(platform, each)]
        assert len(ticks) == len(set(ticks)) == 13 + (61 if n < 2 else 0)


def test_three_schedulers_that_crash_at_random(platform: Platform, tenant: Tenant) -> None:
    chosen = Random(7)
    expressions = ["* * * * *", "*/2 * * * *", "1-59/3 * * * *", "*/5 * * * *"]
    made = [schedule(platform, tenant, expression, catchUp="all") for expression in expressions]
    faults.switch_on("ticking.before_commit=raise:0.3;ticking.after_store=raise:0.3;seed=7")

    def look(after: float) -> None:
        try:
            fire(platform, after, limit=chosen.choice((1, 2, 500)))
        except faults.InjectedFault:
            pass

    with ThreadPoolExecutor(3) as pool:
        for after in range(0, 40, 2):
            list(pool.map(look, [after + chosen.random()] * 6))
    faults.switch_on("")
    while fire(platform, 40):
        pass
    for each in made:
        wanted = takewhile(
            lambda tick: tick <= BEGIN + 40 * MINUTE,
            cron.ticks(cron.parse(each.cron), cron.zone("UTC"), BEGIN - MINUTE / 2),
        )
        runs = runs_of(platform, each)
        assert Counter(run["scheduled_at"] for run in runs) == Counter(wanted)
        payloads = [json.loads(run["payload"]) for run in runs]
        assert [payload.get("lastTimestamp") for payload in payloads] == [None, *(p["timestamp"] for p in payloads[:-1])]
