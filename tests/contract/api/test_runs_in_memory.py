"""Runs that wait in memory: why they are not frozen, and how many of them stay there."""

from __future__ import annotations

from datetime import timedelta

from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.store.records import Executor
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, deployment, executor
from tests.contract.api.frozen_runs import (
    Play,
    began,
    nothing_else_waits,
    play,
    shown,
    version,
)
from tests.support.freezing import Player, soon

__all__ = ["nothing_else_waits", "play", "version"]


# --- why


def test_a_task_that_is_never_frozen(platform: Platform, tenant: Tenant) -> None:
    body = deployment(["hello"], "never")
    body["manifest"]["tasks"][0]["freeze"] = False
    version = tenant.client.simulate_post("/api/v1/deployments", json=body).json["id"]
    run = tenant.trigger()
    player = Player(executor(platform, tenant, version, "executor_never"))
    assert player.next()["work"]["waiting"]["freeze"] is False
    player.block(soon(platform.clock()))
    answer = player.begin()
    assert (answer.status_code, answer.json["code"]) == (409, "FREEZING_OFF")
    assert shown(tenant, run)["aliveReason"] == answer.json["error"] == "its task is never frozen (freeze=False)"


def test_why_a_process_cannot_be_frozen_is_shown(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()), hold="the node has no sandbox")
    assert shown(tenant, run)["aliveReason"] == "the node has no sandbox"


def test_why_a_process_could_not_be_frozen_is_shown(platform: Platform, tenant: Tenant, play: Play) -> None:
    """It was tried, and told afterwards: the run waits as before."""
    player, run = began(play, tenant)
    key = player.block(soon(platform.clock()))
    told = player.post("wait", player.held(waits=[], pending=[key], block="all", hold="criu was ended by signal 9"))
    assert (told.status_code, told.json["state"]) == (200, "blocked")
    assert shown(tenant, run)["aliveReason"] == "criu was ended by signal 9"


# --- and its place


def test_a_run_stays_in_memory_when_it_cannot_be_frozen_or_has_waited_for_long(
    platform: Platform, tenant: Tenant, play: Play
) -> None:
    long, short = timedelta(hours=1), timedelta(0)
    before = platform.runs.resting(long, 1000)
    player, _ = began(play, tenant)
    player.block(soon(platform.clock()))
    assert _more(platform, before, long) == (0, 1)
    assert _more(platform, before, short) == (1, 0)
    assert platform.runs.resting(long, 0) == Resting(0, 0)
    platform.runs.waits_alive(player.work["run"]["id"], player.work["snapshot"], "it has a daemon")
    assert _more(platform, before, long) == (1, 0)


def test_runs_in_memory_are_counted_for_their_environment_and_their_cluster(
    platform: Platform, tenant: Tenant, play: Play
) -> None:
    long = timedelta(hours=1)
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    found = platform.runs.find(tenant.environment, run)
    assert found and found.executor_id
    assert platform.runs.resting_by_environment(long)[tenant.environment] == Resting(0, 1)
    assert platform.runs.resting(long, 1000, "elsewhere") == Resting(0, 0)
    now = platform.clock()
    assert platform.executors.insert(
        Executor(
            found.executor_id, tenant.organization, tenant.environment, str(found.version_id), found.machine, "default",
            "lane", None, None, "here", "sojourn", "job", None, None, None, None, now,
            None, None, None, None, None, None, None, None,
        )
    )  # fmt: skip
    assert platform.runs.resting(long, 1000, "here") == Resting(0, 1)


def _more(platform: Platform, before: Resting, patience: timedelta) -> tuple[int, int]:
    """Of those that came since: how many stay in memory, and how many are about to be frozen."""
    now = platform.runs.resting(patience, 1000)
    if not patience:
        return now.staying - before.staying - before.leaving, now.leaving
    return now.staying - before.staying, now.leaving - before.leaving
