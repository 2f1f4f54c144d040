"""`sojourn fsck` finds runs that wait for what is over, and frozen ones that have nothing to go on from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_waits import begun, child, date, wait
from tests.support.freezing import NODE_TYPE, Player, soon


def found(platform: Platform, run: str, hours: float = 0) -> set[tuple[str, str]]:
    """What is wrong with a run some hours from now, besides that its executor does not beat in this test."""
    violations = platform.checks.check(platform.clock() + timedelta(hours=hours))
    return {(each.invariant, each.text) for each in violations if each.run == run and "lease" not in each.text}


def silenced(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whoever completes something crashes before it looks whom that lets go on."""
    return monkeypatch.setattr(platform.waiting, "_go_on", lambda *_: None)


def cancel(tenant: Tenant, run: str) -> None:
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")


def test_a_run_that_waits_is_as_it_should_be(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    assert wait(worker, work, date(platform, 7200))["state"] == "blocked"
    assert found(platform, work["run"]["id"], hours=1) == set()
    platform.waiting.complete_due(platform.clock() + timedelta(hours=3))
    assert found(platform, work["run"]["id"]) == set(), "it waits in the queue for its slots"
    cancel(tenant, work["run"]["id"])


def test_a_date_that_has_come(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    wait(worker, work, date(platform, 60))
    run = work["run"]["id"]
    date_waited_for = platform.waits.of_run(run, ["1:1"])[0].id
    assert found(platform, date_waited_for, hours=1) == {("I5", "it is due for long and nobody completed it")}
    cancel(tenant, run)


@pytest.mark.parametrize("need", ["any", "all"])
def test_nobody_let_it_go_on(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, monkeypatch: pytest.MonkeyPatch, need: str
) -> None:
    work = begun(tenant, worker)
    run = work["run"]["id"]
    wait(worker, work, date(platform, 1), date(platform, 2 if need == "all" else 7200, "1:2"), block=need)
    with monkeypatch.context() as patch:
        silenced(platform, patch)
        platform.waiting.complete_due(platform.clock() + timedelta(seconds=3))
    assert found(platform, run) == set(), "a sweep may still come in time"
    assert found(platform, run, hours=1) == {("I7", "it has had what it needs for long, and stands still")}
    platform.waiting.sweep(platform.clock())
    assert found(platform, run, hours=1) == set()
    cancel(tenant, run)


def test_a_child_whose_end_nobody_told(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = begun(tenant, worker)
    awaited = tenant.trigger("child")
    wait(worker, work, child(awaited))
    with monkeypatch.context() as patch:
        patch.setattr(platform.index, "on_awaited", lambda runs, now: None)
        cancel(tenant, awaited)
    run = work["run"]["id"]
    assert found(platform, awaited, hours=1) == {("I5", "it ended long ago, and who waits for it was not told")}
    platform.waiting.sweep(platform.clock())
    assert found(platform, awaited, hours=1) == set()
    cancel(tenant, run)


def test_a_frozen_run_without_its_checkpoint(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger()
    player = Player(worker, NODE_TYPE)
    player.next()
    frozen = player.freeze(soon(platform.clock()))
    assert found(platform, run) == set()
    gone = "UPDATE checkpoints SET status = 'GONE', key_sealed = NULL, gone_at = now() WHERE id = %s"
    platform.database.rows(gone, frozen.checkpoint)
    assert found(platform, run) == {("I16", "it is frozen, or to be thawed, and has no checkpoint that was recorded")}
    cancel(tenant, run)
