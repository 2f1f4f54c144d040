"""At every moment of a suspension its wait may end, or the control plane die: the run goes on once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sojourn.control_plane import faults
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant
from tests.contract.api.frozen_runs import (
    Play,
    began,
    events,
    images,
    nothing_else_waits,
    play,
    row_of,
    version,
    wait_is_over,
)
from tests.support.freezing import Frozen, soon

__all__ = ["nothing_else_waits", "play", "version"]


# --- the wait ends


def test_the_wait_is_over_before_the_checkpoint_begins(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, _run = began(play, tenant)
    player.block(soon(platform.clock()))
    wait_is_over(platform)
    answer = player.begin()
    assert (answer.status_code, answer.json["code"]) == (409, "STALE")


def test_the_wait_is_over_before_the_image_is_stored(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    begun = player.begin().json
    wait_is_over(platform)
    answer = player.store(begun["checkpoint"], b"late")
    assert (answer.status_code, answer.json["code"]) == (409, "STALE")
    assert images(platform, tenant, run) == []


def test_the_wait_is_over_before_the_run_is_suspended(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    frozen = player.stored()
    wait_is_over(platform)
    answer = player.suspend(frozen)
    assert (answer.status_code, answer.json["code"]) == (409, "STALE")
    assert images(platform, tenant, run) == [], "the image went with the wait"
    assert row_of(platform, frozen)["key_sealed"] is None
    # Its process goes on in memory.
    platform.placing.readmit(platform.clock())
    beat = player.post("heartbeat", player.held(wait=0)).json
    assert (beat["state"], "blocked" in beat) == ("continue", False)


def test_the_wait_is_over_while_the_image_is_being_stored(
    platform: Platform, tenant: Tenant, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came too late is not left behind."""
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    begun = player.begin().json
    put = type(platform.objects).put

    def slow(self: Any, name: str, chunks: Any) -> int:
        size = put(self, name, chunks)
        wait_is_over(platform)
        return size

    monkeypatch.setattr(type(platform.objects), "put", slow)
    answer = player.store(begun["checkpoint"], b"late")
    assert (answer.status_code, answer.json["code"]) == (409, "STALE")
    assert [each.name for each in platform.objects.list("checkpoints/") if run in each.name] == []


def test_the_wait_is_over_while_the_run_is_being_suspended(
    platform: Platform, tenant: Tenant, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completed a moment before SUSPEND was stored, by somebody who then crashed: the suspension looks once more."""
    player, _run = began(play, tenant)
    player.block(soon(platform.clock()))
    frozen = player.stored()
    with monkeypatch.context() as patch:
        patch.setattr(type(platform.waiting), "go_on", lambda *_: 0)
        wait_is_over(platform)
    assert player.suspend(frozen).status_code == 200
    assert player.next()["work"]["thaw"]["checkpoint"] == frozen.checkpoint


# --- a control plane that dies half-way


@pytest.fixture
def struck() -> Iterator[Callable[[str], None]]:
    """Strikes a fault point from now on; what the application then says is no answer."""

    def strike(name: str) -> None:
        faults.switch_on(f"{name}=raise" if name else "")

    yield strike
    faults.switch_on("")


def test_a_crash_after_the_image_was_stored(
    platform: Platform, tenant: Tenant, play: Play, struck: Callable[[str], None]
) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    begun = player.begin().json
    struck("freezing.after_upload")
    assert player.store(begun["checkpoint"], b"image").status_code == 500
    struck("")
    frozen = Frozen(begun["checkpoint"], begun["key"], begun["context"], b"image", run, player.work["snapshot"])
    assert player.suspend(frozen).json["code"] == "STALE", "it is not known to be stored"
    assert player.store(begun["checkpoint"], b"image").status_code == 200
    assert player.suspend(frozen).status_code == 200


def test_a_crash_after_a_run_was_suspended(
    platform: Platform, tenant: Tenant, play: Play, struck: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait ended meanwhile, unseen: the sweep lets the run go on."""
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    frozen = player.stored()
    with monkeypatch.context() as patch:
        patch.setattr(type(platform.waiting), "go_on", lambda *_: 0)
        wait_is_over(platform)
    struck("freezing.after_suspend")
    assert player.suspend(frozen).status_code == 500
    struck("")
    assert player.suspend(frozen).json == {"state": "suspended"}
    assert events(tenant, run)[-1] == "SUSPEND"
    platform.waiting.sweep(platform.clock())
    assert player.next()["work"]["thaw"]["checkpoint"] == frozen.checkpoint


def test_a_crash_after_a_run_went_on(platform: Platform, tenant: Tenant, play: Play, struck: Callable[[str], None]) -> None:
    player, run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    player.next()
    struck("freezing.after_continue")
    assert player.thawed().status_code == 500
    struck("")
    assert player.go_on()
    assert row_of(platform, frozen)["key_sealed"] is None
    assert (events(tenant, run).count("CONTINUE"), images(platform, tenant, run)) == (1, [])


def test_the_end_of_a_wait_and_the_suspension_race(platform: Platform, tenant: Tenant, play: Play) -> None:
    """F43: whoever is first, the run goes on once, in memory or from its image."""
    seen = set()
    for _ in range(40):
        player, run = began(play, tenant)
        player.block(soon(platform.clock()))
        frozen = player.stored(1000)
        with ThreadPoolExecutor() as pool:
            told, _ = pool.submit(player.suspend, frozen), pool.submit(wait_is_over, platform)
        if told.result().status_code == 200:
            assert player.next()["work"]["thaw"]["checkpoint"] == frozen.checkpoint
            assert len(player.go_on()) == 1
        else:
            assert told.result().json["code"] == "STALE"
            platform.placing.readmit(platform.clock())
        seen.add(told.result().status_code)
        way = events(tenant, run)[4:]
        assert way in (["SUSPEND", "RESUME", "DEQUEUE", "CONTINUE"], ["UNBLOCK_QUEUED", "READMIT"]), way
        assert player.complete({"ok": True, "output": "1"})["result"] == "RUN_FINISHED"
    assert seen, "which of the two comes first is left to chance"
