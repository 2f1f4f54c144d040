"""More of what other platforms got wrong (reliability sheet, A to C), in its smallest form; see `test_regressions_a.py` and
`test_regressions_bc.py`.

Of these the processes themselves are tried elsewhere: B3, that a retry begins when all of the attempt before is gone,
in `integration/shim/test_stopping.py` and `test_ends.py`; B5, that code which holds the interpreter beats all the same, in
`test_stopping.py`; C7, ends of a process of every kind, in `acceptance/test_ends.py`; C9, Redis that is killed and emptied,
in `acceptance/test_faults.py`; B9 and C14, Nomad's own part, in `unit/nomad_jobs/test_spec.py` and
`acceptance/test_nomad_faults.py`; C2, crashes between any two steps of a wait, in `test_wait_interleavings.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sojourn.control_plane import faults
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.reaper import Reaper
from tests.contract.api.conftest import Tenant, executor, next_order
from tests.contract.api.frozen_runs import wait_is_over
from tests.contract.api.test_regressions_bc import (
    OK,
    Play,
    at_once,
    began,
    events,
    later,
    lost,
    play,
    reaper,
    version,
)
from tests.support.freezing import Player, soon
from tests.support.stack import until

__all__ = ["play", "reaper", "version"]


@pytest.fixture(autouse=True)
def _no_fault_stays() -> Iterator[None]:
    yield
    faults.switch_on("")


def slots(platform: Platform, tenant: Tenant) -> set[str]:
    """Every run that holds any slot."""
    held = platform.queue.audit(tenant.organization).slots
    return {run for runs in held.values() for run in runs}


def status(platform: Platform, run: str) -> str:
    found = platform.runs.any(run)
    assert found
    return found.snapshot_status


# --- A: slots


def test_a4_what_left_the_queue_and_was_never_claimed_comes_back(
    platform: Platform, tenant: Tenant, version: str, play: Play
) -> None:
    faults.switch_on("claim.after_dequeue=raise")
    run = tenant.trigger()
    for _ in range(5):
        answer = play().post("next", {"wait": 0, "served": 1})
        assert "work" not in (answer.json or {})
        platform.recovery.sweep(tenant.organization, later(platform))
    assert events(platform, run) == ["TRIGGER"]
    faults.switch_on("")
    player = play()
    assert player.next()["work"]["run"]["id"] == run
    player.complete(OK)
    assert slots(platform, tenant) == set()


def test_a11_a_wait_that_ends_before_its_checkpoint_is_there_costs_no_slot(
    platform: Platform, tenant: Tenant, play: Play
) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    assert slots(platform, tenant) == set()
    begun = player.begin().json
    wait_is_over(platform)
    assert platform.placing.readmit(platform.clock()) == 1
    assert slots(platform, tenant) == {run}
    late = player.store(begun["checkpoint"], b"late")
    assert (late.status_code, late.json["code"]) == (409, "STALE")
    assert player.post("heartbeat", player.held(wait=0)).json["state"] == "continue"
    assert slots(platform, tenant) == {run}
    assert player.complete(OK)["result"] == "RUN_FINISHED"
    assert slots(platform, tenant) == set()


# --- B: done twice, or by one that is late


def test_b3_an_attempt_that_took_too_long_can_say_nothing_once_it_was_ended(
    platform: Platform, tenant: Tenant, play: Play
) -> None:
    """Its executor tells of that when the process and all of its own are gone; what comes after is refused."""
    player, run = began(play, tenant, maxAttempts=1)
    error = {"type": "INTERNAL_ERROR", "code": "MAX_DURATION_EXCEEDED", "message": "too long"}
    stale = player.held(attempt=1, outcome=OK, usageMs=5, logs=[])
    assert player.complete({"ok": False, "error": error})["result"] == "RUN_FINISHED"
    answer = player.post("next", {"wait": None, "served": 1, "completion": stale})
    assert answer.status_code == 200
    found = platform.runs.any(run)
    assert found and (found.status, found.output) == ("TIMED_OUT", None)
    assert "SUCCEED" not in events(platform, run)


def test_b5_what_keeps_a_run_is_the_beat_and_nothing_that_its_code_does(
    platform: Platform, tenant: Tenant, play: Play, reaper: Reaper
) -> None:
    """The beat comes from a process beside the user's, so that code which never lets go of its own is no sign of death."""
    player, run = began(play, tenant)
    first = platform.runs.any(run)
    assert player.post("heartbeat", player.held(wait=0)).json["state"] == "continue"
    renewed = platform.runs.any(run)
    assert first and renewed and first.lease_until and renewed.lease_until
    assert renewed.lease_until > first.lease_until
    reaper.run_once(first.lease_until)
    assert events(platform, run)[-1] == "START"
    assert player.complete(OK)["result"] == "RUN_FINISHED"


def test_b9_an_executor_that_is_started_again_finds_its_attempt_closed(
    platform: Platform, tenant: Tenant, play: Play, reaper: Reaper
) -> None:
    first, run = began(play, tenant)
    lost(platform, reaper)
    other = play()
    assert other.next()["work"]["run"]["id"] == run
    again = Player(first.client)  # the same allocation, from its beginning
    answer = again.post("next", {"wait": 0, "served": 0})
    assert "work" not in (answer.json or {})
    assert other.complete(OK)["result"] == "RUN_FINISHED"
    answer = again.post("next", {"wait": 0, "served": 0})
    assert "work" not in (answer.json or {})
    assert events(platform, run).count("START") == 2


# --- C: lost wake-ups, stuck for ever


@pytest.mark.parametrize("point", ["wait.after_make", "wait.before_block", "wait.after_block"])
def test_c2_a_wait_that_is_cut_off_is_made_once_all_the_same(
    platform: Platform, tenant: Tenant, play: Play, point: str
) -> None:
    player, run = began(play, tenant)
    wish = {"key": "1:a", "kind": "date", "at": soon(platform.clock()).isoformat()}
    body = player.held(waits=[wish], pending=["1:a"], block="all")
    faults.switch_on(f"{point}=raise")
    assert player.post("wait", body).status_code == 500
    faults.switch_on("")
    answer = player.post("wait", body)
    assert (answer.status_code, answer.json["state"]) == (200, "blocked")
    assert len(platform.database.rows("SELECT id FROM waitpoints")) == 1
    wait_is_over(platform)
    assert status(platform, run) == "QUEUED_EXECUTING"
    assert platform.placing.readmit(platform.clock()) == 1
    assert status(platform, run) == "EXECUTING"


def test_c7_a_child_that_is_dead_is_no_wait(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, _ = began(play, tenant)
    child = tenant.trigger()
    tenant.client.simulate_post(f"/api/v2/runs/{child}/cancel")
    wish = {"key": "1:a", "kind": "run", "awaited": child}
    answer = player.post("wait", player.held(waits=[wish], pending=["1:a"], block="all")).json
    assert (answer["state"], answer["done"]["1:a"]["ok"]) == ("ready", False)
    missing = {"key": "1:b", "kind": "run", "awaited": "run_" + "0" * 26}
    answer = player.post("wait", player.held(waits=[missing], pending=["1:b"], block="all")).json
    assert (answer["state"], answer["done"]["1:b"]["ok"]) == ("ready", False)


def test_c9_executors_hear_of_runs_though_redis_cuts_them_off(platform: Platform, tenant: Tenant, play: Play) -> None:
    for _ in range(5):
        player = play()
        given: list[dict[str, Any]] = []

        def poll(player: Player = player, given: list[dict[str, Any]] = given) -> None:
            """As an executor does: what fails is asked again. A run that was handed to nobody is found by the sweep."""
            while not given:
                answer = player.post("next", {"wait": 2, "served": 1})
                if answer.status_code == 200 and "work" in answer.json:
                    player.work = answer.json["work"]
                    given.append(player.work)
                else:
                    platform.recovery.sweep(tenant.organization, later(platform))

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        until(lambda: platform.queue.idle_executors(tenant.organization), 20, "it waits")
        for kind in ("normal", "pubsub"):
            platform.redis.client_kill_filter(_type=kind, skipme=True)
        run = tenant.trigger()
        thread.join(30)
        assert [work["run"]["id"] for work in given] == [run]
        player.complete(OK)


def test_c10_a_connection_that_may_only_read_is_given_up(platform: Platform, tenant: Tenant, version: str) -> None:
    """As after a failover, when the server at the other end is no primary any more."""
    run = tenant.trigger()
    for _ in range(3):
        platform.database.rows("SET default_transaction_read_only = on")
        platform.database.rows("UPDATE runs SET tags = '{written}' WHERE id = %s", run)
        assert platform.database.rows("SHOW default_transaction_read_only")[0]["default_transaction_read_only"] == "off"
    assert tenant.trigger()


def test_c12_writes_that_take_long_lose_no_run(
    platform: Platform, tenant: Tenant, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = platform.database.call

    def slow(name: str, document: Any) -> Any:
        time.sleep(0.2)
        return call(name, document)

    monkeypatch.setattr(platform.database, "call", slow)
    made: list[str] = []
    at_once(5, lambda: made.append(tenant.trigger()))
    player, ended = play(), []
    for _ in made:
        player.next()
        ended.append(player.work["run"]["id"])
        assert player.complete(OK)["result"] == "RUN_FINISHED"
        player = play()
    assert len(made) == 5 and sorted(ended) == sorted(made)


def test_c14_what_was_placed_and_never_came_is_placed_anew(
    platform: Platform, tenant: Tenant, version: str, reaper: Reaper
) -> None:
    run = tenant.trigger()
    first = next_order(platform)
    reaper.run_once(later(platform))
    second = next_order(platform)
    assert (first.run.id, second.run.id) == (run, run)
    assert second.run.snapshot > first.run.snapshot and second.identity.executor != first.identity.executor
    late = Player(executor(platform, tenant, version, first.identity.executor))
    answer = late.post("next", {"wait": 0, "served": 0})
    assert "work" not in (answer.json or {})
    there = Player(executor(platform, tenant, version, second.identity.executor))
    assert there.next(wait=0)["work"]["run"]["id"] == run
    assert there.complete(OK)["result"] == "RUN_FINISHED"
    assert events(platform, run).count("START") == 1
