"""A run that is frozen and thawed through the worker API: the whole way, asked twice, and who may do what."""

from __future__ import annotations

import json
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sojourn.control_plane.api.models.worker import ThawedReply
from sojourn.control_plane.store.objects import ObjectsUnavailable
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, executor, next_order
from tests.contract.api.frozen_runs import (
    Play,
    began,
    events,
    images,
    nothing_else_waits,
    play,
    shown,
    timeline,
    version,
    wait_is_over,
)
from tests.support.freezing import NODE_TYPE, Frozen, Player, soon

__all__ = ["nothing_else_waits", "play", "version"]


# --- the whole way


def test_from_block_to_result(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    assert player.work["waiting"] == {"freeze": True, "after": 3.0, "threshold": 5.0, "short": 5.0}
    frozen = player.freeze(soon(platform.clock()))
    assert len(b64decode(frozen.key)) == 32
    told = json.loads(frozen.context)
    assert told == {
        "environment": tenant.environment,
        "run": run,
        "attempt": 1,
        "snapshot": frozen.snapshot,
        "checkpoint": frozen.checkpoint,
        "version": told["version"],
        "nodeType": NODE_TYPE,
    }
    assert images(platform, tenant, run) == [f"checkpoints/{tenant.environment}/{run}/{frozen.checkpoint}"]
    assert shown(tenant, run)["status"] == "WAITING"
    assert player.next(wait=0) == {}, "a run whose wait goes on is nobody's"

    wait_is_over(platform)
    other = play()
    work = other.next()["work"]
    assert (work["run"]["id"], work["attempt"]["number"]) == (run, 1)
    assert work["thaw"] == {
        "checkpoint": frozen.checkpoint,
        "key": frozen.key,
        "context": frozen.context,
        "nodeType": NODE_TYPE,
        "sealedBytes": len(frozen.image),
    }
    assert shown(tenant, run)["status"] == "WAITING"
    image = other.image(frozen.checkpoint)
    assert (image.status_code, image.content) == (200, frozen.image)
    assert image.headers["content-length"] == str(len(frozen.image))
    assert other.post("heartbeat", other.held(wait=0)).json == {"state": "continue"}

    done = other.go_on()
    assert [each["ok"] for each in done.values()] == [True]
    assert shown(tenant, run)["status"] == "EXECUTING"
    assert other.complete({"ok": True, "output": "7"}) == {"result": "RUN_FINISHED"}
    assert shown(tenant, run)["output"] == 7
    assert events(tenant, run) == [
        *("TRIGGER", "DEQUEUE", "START", "BLOCK", "SUSPEND", "RESUME", "DEQUEUE", "CONTINUE", "SUCCEED")
    ]
    told = timeline(tenant, run)
    assert [attempt["number"] for attempt in told["attempts"]] == [1]
    spent = {name: told["checkpoints"][0][name] for name in ("imageBytes", "storedBytes", "freezeMs", "storeMs", "thawMs")}
    assert spent == {"imageBytes": 300_000, "storedBytes": 100_000, "freezeMs": 80, "storeMs": 20, "thawMs": 42}
    assert images(platform, tenant, run) == []
    assert [each for each in platform.checks.check(platform.clock()) if each.run == run] == []


def test_a_thawed_run_goes_on_though_its_payload_cannot_be_read(
    platform: Platform, tenant: Tenant, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process has it in memory, and would be lost."""
    player, run = began(play, tenant, payload="x" * 600_000)
    frozen = player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    other = play()
    assert other.next()["work"]["run"]["id"] == run
    assert other.image(frozen.checkpoint).content == frozen.image

    def refuse(*_: Any) -> Any:
        raise ObjectsUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(platform.objects, "open", refuse)
        assert [each["ok"] for each in other.go_on().values()] == [True]
    assert other.complete({"ok": True, "output": "7"}) == {"result": "RUN_FINISHED"}
    assert shown(tenant, run)["output"] == 7


def test_an_idle_executor_is_handed_a_frozen_run(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, _run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(player.next)
        wait_is_over(platform)
        assert waiting.result(30)["work"]["thaw"]
    player.go_on()


def test_a_cold_start_thaws(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    order = next_order(platform)
    assert (order.run.id, order.run.status, order.run.frozen_on) == (run, "WAITING", NODE_TYPE)
    placed = play(name=order.identity.executor)
    assert placed.next(wait=0)["work"]["thaw"]
    placed.go_on()
    assert placed.complete({"ok": True, "output": "1"})["result"] == "RUN_FINISHED"


def test_no_placement_brings_it_back_with_its_checkpoint(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    order = next_order(platform)
    platform.placing.return_order(order, "there is no room", platform.clock())
    assert shown(tenant, run)["status"] == "WAITING"
    again = player.next()["work"]
    assert again["thaw"]["sealedBytes"] and again["run"]["id"] == run


def test_frozen_twenty_times(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    keys = set()
    for _ in range(20):
        keys.add(player.freeze(soon(platform.clock())).key)
        wait_is_over(platform)
        player.next()
        player.go_on()
    assert len(keys) == 20
    assert player.complete({"ok": True, "output": "1"})["result"] == "RUN_FINISHED"
    assert (len(timeline(tenant, run)["checkpoints"]), images(platform, tenant, run)) == (20, [])


# --- asked twice


def test_every_call_may_be_repeated(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    first, again = player.begin().json, player.begin().json
    assert first == again
    image = b"x" * 1000
    assert [player.store(first["checkpoint"], image).json for _ in range(2)] == [{"bytes": 1000}] * 2
    frozen = Frozen(first["checkpoint"], first["key"], first["context"], image, run, player.work["snapshot"])
    assert [player.suspend(frozen).json for _ in range(2)] == [{"state": "suspended"}] * 2
    wait_is_over(platform)
    assert player.suspend(frozen).json == {"state": "suspended"}, "even when the run has moved on since"
    given = player.next(served=1)["work"]
    assert player.next(again=True)["work"]["thaw"] == given["thaw"], "its answer was lost"
    assert player.suspend(frozen).json == {"state": "suspended"}
    one, two = player.thawed(), player.thawed()
    ThawedReply.model_validate(one.json)
    assert one.json["work"]["snapshot"] == two.json["work"]["snapshot"]
    assert one.json["done"] == two.json["done"] and len(one.json["done"]) == 1
    assert events(tenant, run).count("CONTINUE") == 1


def test_after_a_stored_image_another_checkpoint_has_another_key(platform: Platform, tenant: Tenant, play: Play) -> None:
    """The process went on in memory for a while, and is frozen again where its run stands still."""
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    first = player.stored()
    second = player.stored()
    assert first.checkpoint != second.checkpoint and first.key != second.key
    assert player.suspend(first).json["code"] == "STALE"
    assert player.suspend(second).json == {"state": "suspended"}
    assert [name.rpartition("/")[2] for name in images(platform, tenant, run)] == [second.checkpoint]


def test_a_second_process_of_one_image_never_goes_on(platform: Platform, tenant: Tenant, play: Play) -> None:
    """F44: the first executor was cut off and given up, so the image was given to a second one as well."""
    player, run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    first, second = play(), play()
    first.next()
    held = platform.runs.any(run)
    assert held is not None
    platform.outcomes.lose(held, {"message": "it fell silent"}, platform.clock())
    assert shown(tenant, run)["status"] == "WAITING"
    assert second.next()["work"]["thaw"]
    late = first.thawed()
    assert (late.status_code, late.json["code"]) == (409, "STALE")
    assert first.image(second.work["thaw"]["checkpoint"]).json["code"] == "CHECKPOINT_NOT_FOUND"
    second.go_on()
    assert first.thawed().json["code"] == "STALE"
    assert events(tenant, run).count("CONTINUE") == 1


# --- who may do what


def test_another_executor_sees_nothing_of_it(platform: Platform, tenant: Tenant, stranger: Tenant, play: Play) -> None:
    """Neither the environment's other executors, nor another organization's."""
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    frozen = player.stored()
    version = stranger.deploy(["hello"])
    foreign = Player(executor(platform, stranger, version["id"], "executor_stranger"))
    stranger.trigger()
    foreign.next()
    sibling, _ = began(play, tenant)
    for other in (foreign, sibling):
        assert other.store(frozen.checkpoint, b"mine now").json["code"] == "CHECKPOINT_NOT_FOUND"
        assert other.image(frozen.checkpoint).json["code"] == "CHECKPOINT_NOT_FOUND"
        assert other.suspend(frozen).json["code"] == "CHECKPOINT_NOT_FOUND"
        stolen = other.held(nodeType=NODE_TYPE) | {"run": run, "snapshot": frozen.snapshot}
        assert other.post("checkpoints", stolen).json["code"] == "CREDENTIAL_REFUSED"
        assert other.post("thawed", stolen).json["code"] == "CREDENTIAL_REFUSED"
    assert player.suspend(frozen).status_code == 200


def test_an_image_is_for_the_executor_that_thaws_it(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    assert player.image(frozen.checkpoint).json["code"] == "CHECKPOINT_NOT_FOUND", "not even for the one that stored it"
    wait_is_over(platform)
    thawing = play()
    thawing.next()
    assert player.image(frozen.checkpoint).json["code"] == "CHECKPOINT_NOT_FOUND"
    wrong = thawing.client.simulate_get(
        f"/worker/v1/checkpoints/{frozen.checkpoint}", params={"run": run}, headers={"x-run-token": "0" * 64}
    )
    assert wrong.json["code"] == "CREDENTIAL_REFUSED"
    thawing.go_on()
    assert thawing.image(frozen.checkpoint).json["code"] == "CHECKPOINT_NOT_FOUND", "it is of no use any more"


@pytest.mark.parametrize(
    "change", [{"sealedBytes": 7}, {"nodeType": "another"}, {"snapshot": 1}, {"run": "run_x"}], ids=str
)
def test_a_suspension_names_the_image_that_is_stored(
    platform: Platform, tenant: Tenant, play: Play, change: dict[str, Any]
) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    frozen = player.stored()
    assert player.suspend(frozen, **change).json["code"] == "STALE"
    assert events(tenant, run)[-1] == "BLOCK"
    assert player.suspend(frozen).status_code == 200


def test_a_suspension_without_an_image_is_refused(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.block(soon(platform.clock()))
    begun = player.begin().json
    frozen = Frozen(begun["checkpoint"], begun["key"], begun["context"], b"", run, player.work["snapshot"])
    assert player.suspend(frozen).json["code"] == "STALE"


def test_a_run_that_works_is_frozen_when_its_executor_has_to_leave(platform: Platform, tenant: Tenant, play: Play) -> None:
    """It waits for nothing, so that it goes on at once: elsewhere, and as the same attempt."""
    player, run = began(play, tenant)
    assert player.suspend(player.stored()).json == {"state": "suspended"}
    assert events(tenant, run)[-2:] == ["SUSPEND", "RESUME"]
    assert platform.queue.members(tenant.organization, [run]) == ["waiting"]
    other = play()
    assert other.next()["work"]["run"]["id"] == run
    assert other.go_on() == {}
    assert other.complete({"ok": True, "output": "7"}) == {"result": "RUN_FINISHED"}
    assert [attempt["number"] for attempt in timeline(tenant, run)["attempts"]] == [1]


def test_a_run_that_works_keeps_its_slots_when_it_is_not_suspended(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    frozen = player.stored()
    player.block(soon(platform.clock()))
    wait_is_over(platform)
    assert platform.placing.readmit(platform.clock()) >= 1
    assert player.suspend(frozen).json["code"] == "STALE"
    assert platform.queue.members(tenant.organization, [run]) == ["inflight"]


def test_a_run_that_is_over_is_not_frozen(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, _ = began(play, tenant)
    player.complete({"ok": True, "output": "1"})
    assert player.begin().json["code"] == "STALE"


@pytest.mark.parametrize("node_type", ["", "a b", "x|y", "x@y", "x" * 65])
def test_a_type_of_node_is_one_short_word(tenant: Tenant, play: Play, node_type: str) -> None:
    answer = play().post("next", {"wait": 0, "nodeType": node_type})
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")
