"""How long the image of a frozen run is kept: no longer than it is of use, and while the object store is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sojourn.control_plane.store.objects import ObjectsUnavailable
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
    shown,
    version,
    wait_is_over,
)
from tests.support.freezing import soon

__all__ = ["nothing_else_waits", "play", "version"]


# --- cancelling, and what is left


def test_cancelled_while_frozen(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    assert (shown(tenant, run)["status"], events(tenant, run)[-1]) == ("CANCELED", "CANCEL")
    row = row_of(platform, frozen)
    assert (row["status"], row["key_sealed"]) == ("GONE", None), "the key goes with the move"
    assert images(platform, tenant, run) == []
    wait_is_over(platform)
    assert player.next(wait=0) == {}


def test_cancelled_while_thawing(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    player.next()
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    assert player.post("heartbeat", player.held(wait=0)).json["state"] == "cancel"
    assert player.thawed().json["code"] == "STALE"
    assert player.image(player.work["thaw"]["checkpoint"]).json["code"] == "CHECKPOINT_NOT_FOUND"
    assert player.not_thawed()["result"] == "RUN_FINISHED"
    assert (events(tenant, run)[-1], images(platform, tenant, run)) == ("CANCEL_ACKNOWLEDGED", [])


def test_an_attempt_that_ends_while_its_image_is_stored_leaves_none(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant, maxAttempts=1)
    player.block(soon(platform.clock()))
    player.stored()
    error = {"type": "STRING_ERROR", "raw": "it gave up"}
    assert player.complete({"ok": False, "error": error})["result"] == "RUN_FINISHED"
    assert images(platform, tenant, run) == []


def test_a_run_that_is_deleted_leaves_no_image_and_no_key(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    platform.runs.remove_finished(tenant.environment, platform.clock() + timedelta(days=1), 1000)
    assert row_of(platform, frozen)["removed_at"] is None, "its image is still to be removed"
    assert images(platform, tenant, run) == []
    platform.shredding.remove(platform.clock() + timedelta(days=1), 1000)
    assert platform.database.rows("SELECT 1 FROM checkpoints WHERE id = %s", frozen.checkpoint) == []


def test_the_sweep_removes_what_a_crash_left_and_nothing_else(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    orphan = f"checkpoints/{tenant.environment}/{run}/checkpoint_orphan"
    elsewhere = "checkpoints/env_of_another_installation/run_1/checkpoint_1"
    for name in (orphan, elsewhere):
        platform.objects.put(name, [b"left"])
    platform.shredding.sweep(platform.clock())
    assert orphan in {each.name for each in platform.objects.list("checkpoints/")}, "it may be an upload of just now"
    platform.shredding.sweep(platform.clock() + timedelta(hours=2))
    left = {each.name for each in platform.objects.list("checkpoints/")}
    assert orphan not in left and elsewhere in left
    assert any(name.endswith(frozen.checkpoint) for name in left)
    platform.objects.delete(elsewhere)


def test_a_checkpoint_that_was_begun_and_forgotten_is_ended(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, _run = began(play, tenant)
    player.block(soon(platform.clock()))
    frozen = player.stored()
    platform.shredding.remove(platform.clock() + timedelta(hours=2), 1000)
    assert row_of(platform, frozen)["status"] == "GONE"
    assert player.suspend(frozen).json["code"] == "STALE"


# --- what fsck sees


def test_fsck_sees_an_image_that_is_lost_or_another(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    name = f"checkpoints/{tenant.environment}/{run}/{frozen.checkpoint}"
    platform.objects.put(name, [frozen.image[:-1]])
    assert [each.invariant for each in platform.checks.check(platform.clock()) if each.run == run] == ["I16"]
    platform.objects.delete(name)
    assert [each.invariant for each in platform.checks.check(platform.clock()) if each.run == run] == ["I16"]
    platform.database.rows("UPDATE runs SET checkpoint_id = NULL, frozen_on = NULL WHERE id = %s", run)
    told = [each.text for each in platform.checks.check(platform.clock()) if each.run == run]
    assert "it is frozen, or to be thawed, and has no checkpoint that was recorded" in told


# --- the object store is away (F46)


def test_a_store_that_is_away_leaves_the_run_waiting_in_memory(
    platform: Platform, tenant: Tenant, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    begun = player.begin().json

    def away(*_: Any) -> int:
        raise ObjectsUnavailable("the object store answered SlowDown")

    with monkeypatch.context() as patch:
        patch.setattr(type(platform.objects), "put", away)
        answer = player.store(begun["checkpoint"], b"x")
    assert (answer.status_code, answer.json["code"]) == (503, "IMAGES_UNAVAILABLE")
    told = shown(tenant, run)
    assert (told["status"], told["aliveReason"]) == ("EXECUTING", "the object store answered SlowDown")
    beat = player.post("heartbeat", player.held(wait=0)).json
    assert (beat["state"], beat["blocked"]) == ("continue", True)
    wait_is_over(platform)
    platform.placing.readmit(platform.clock())
    assert "aliveReason" not in shown(tenant, run)


def test_a_store_that_is_away_while_an_image_is_read(
    platform: Platform, tenant: Tenant, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    player, _ = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    player.next()

    def away(*_: Any) -> int:
        raise ObjectsUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(platform.objects), "open", away)
        answer = player.image(frozen.checkpoint)
        assert (answer.status_code, answer.json["code"]) == (503, "IMAGES_UNAVAILABLE")
    assert player.image(frozen.checkpoint).content == frozen.image


def test_images_stay_until_the_store_is_back(
    platform: Platform, tenant: Tenant, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    player, run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")

    def away(*_: Any) -> int:
        raise ObjectsUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(platform.objects), "delete", away)
        patch.setattr(type(platform.objects), "list", away)
        assert platform.shredding.remove(platform.clock(), 10) == 0
        assert platform.shredding.sweep(platform.clock()) == 0
    assert images(platform, tenant, run) == []
