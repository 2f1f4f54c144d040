"""Images that cannot be thawed, and nodes that cannot thaw them: what is charged, and when an image is given up."""

from __future__ import annotations

from datetime import timedelta

from sojourn.control_plane.engine.outcomes import MAX_DEQUEUES, MAX_THAWS
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, next_order
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
from tests.support.freezing import NODE_TYPE, soon

__all__ = ["nothing_else_waits", "play", "version"]


# --- what fails


def test_an_image_that_cannot_be_thawed_is_given_up_and_the_run_retried(
    platform: Platform, tenant: Tenant, play: Play
) -> None:
    player, run = began(play, tenant, maxAttempts=2)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    results = []
    for _ in range(MAX_THAWS):
        player.next()
        results.append(player.not_thawed()["result"])
    assert results == ["RETRY_QUEUED"] * 3
    rows = timeline(tenant, run)["snapshots"]
    assert [row["event"] for row in rows[-6:]] == ["DEQUEUE", "REQUEUE", "DEQUEUE", "REQUEUE", "DEQUEUE", "RETRY_LATER"]
    assert (rows[-3]["description"], rows[-3]["error"]["message"]) == (
        "it was not thawed",
        "CHECKPOINT_INVALID: a bit was flipped",
    )
    assert rows[-1]["error"]["message"].startswith(
        "CHECKPOINT_INVALID: its frozen process could not be thawed, tried 3 times"
    )
    assert images(platform, tenant, run) == []
    platform.expiring.queue_due(platform.clock() + timedelta(hours=1), 10)
    again = player.next()["work"]
    assert (again["attempt"]["number"], "thaw" in again) == (2, False)
    assert player.complete({"ok": True, "output": "1"})["result"] == "RUN_FINISHED"
    assert [each for each in platform.checks.check(platform.clock()) if each.run == run] == []


def test_the_last_attempt_crashes_when_its_image_is_given_up(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant, maxAttempts=1)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    results = []
    for code in ("THAW_FAILED", "CHECKPOINT_INVALID", "THAW_FAILED"):
        player.next()
        results.append(player.not_thawed(code)["result"])
    assert results == ["RETRY_QUEUED", "RETRY_QUEUED", "RUN_FINISHED"]
    over = shown(tenant, run)
    assert (over["status"], over["error"]["name"]) == ("CRASHED", "CHECKPOINT_INVALID")
    assert images(platform, tenant, run) == []


def test_a_failed_thaw_told_twice_counts_once(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    player.next()
    assert [player.not_thawed()["result"] for _ in range(3)] == ["RETRY_QUEUED"] * 3
    assert events(tenant, run).count("REQUEUE") == 1


def test_leaving_or_having_no_room_says_nothing_about_the_image(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, _run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    for code in ("GRACEFUL_EXIT_TIMEOUT", "TASK_EXECUTION_ABORTED") * 3:
        player.next()
        assert player.not_thawed(code)["result"] == "RETRY_QUEUED"
    assert player.next()["work"]["thaw"]["checkpoint"] == frozen.checkpoint
    player.go_on()


def test_an_executor_that_is_lost_while_thawing_keeps_the_checkpoint(
    platform: Platform, tenant: Tenant, play: Play
) -> None:
    player, run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    for _ in range(MAX_THAWS + 1):
        lost = play()
        lost.next()
        held = platform.runs.any(run)
        assert held is not None
        platform.outcomes.lose(held, {"message": "its executor is gone"}, platform.clock())
    assert player.next()["work"]["thaw"]["checkpoint"] == frozen.checkpoint
    player.go_on()


def test_a_lost_image_is_told_of(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    frozen = player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    player.next()
    platform.objects.delete(f"checkpoints/{tenant.environment}/{run}/{frozen.checkpoint}")
    answer = player.image(frozen.checkpoint)
    assert (answer.status_code, answer.json["code"]) == (404, "CHECKPOINT_NOT_FOUND")


def test_a_key_that_cannot_be_opened_gives_the_image_up(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant, maxAttempts=1)
    frozen = player.freeze(soon(platform.clock()))
    platform.database.rows(
        "UPDATE checkpoints SET key_sealed = overlay(key_sealed placing 'AAAA' from 30) WHERE id = %s", frozen.checkpoint
    )
    wait_is_over(platform)
    assert player.next(wait=0) == {}
    assert shown(tenant, run)["status"] == "CRASHED"


# --- types of nodes


def test_an_executor_on_another_type_of_node_is_not_offered_it(platform: Platform, tenant: Tenant, play: Play) -> None:
    player, run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    for other in (play("other-type"), play(None)):
        assert other.next(wait=0) == {}
    assert "REQUEUE" not in events(tenant, run)
    assert player.next()["work"]["run"]["id"] == run


def test_an_executor_placed_on_another_type_of_node_hands_it_back_uncharged(
    platform: Platform, tenant: Tenant, play: Play
) -> None:
    player, run = began(play, tenant)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    order = next_order(platform)
    placed = play("other-type", name=order.identity.executor)
    assert placed.next(wait=0) == {}
    row = timeline(tenant, run)["snapshots"][-1]
    told = f"it was frozen on a node of type {NODE_TYPE}, and given to one of type other-type"
    assert (row["event"], row["description"]) == ("REQUEUE", "it goes elsewhere") and told in row["error"]["message"]
    assert player.next()["work"]["run"]["id"] == run
    player.go_on()


def test_an_image_for_a_type_of_node_that_is_gone_is_given_up_in_the_end(
    platform: Platform, tenant: Tenant, play: Play
) -> None:
    player, run = began(play, tenant, maxAttempts=1)
    player.freeze(soon(platform.clock()))
    wait_is_over(platform)
    for _ in range(MAX_DEQUEUES):
        assert shown(tenant, run)["status"] == "WAITING"
        placed = play("newer-kernel", name=next_order(platform).identity.executor)
        placed.next(wait=0)
    over = shown(tenant, run)
    assert (over["status"], over["error"]["name"]) == ("CRASHED", "CHECKPOINT_INVALID")
