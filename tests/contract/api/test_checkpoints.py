"""A run that is frozen and thawed through the worker API: what is stored, who may read it, what each crash leaves."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from sojourn.control_plane import faults
from sojourn.control_plane.api.replies import RunReply, ThawedReply, TimelineReply
from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.engine.outcomes import MAX_DEQUEUES, MAX_THAWS
from sojourn.control_plane.store.objects import ObjectsUnavailable
from sojourn.control_plane.store.records import Executor
from sojourn.control_plane.store.waits import Completion
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, deployment, executor, next_order
from tests.support.freezing import NODE_TYPE, Frozen, Player, soon

Play = Callable[..., Player]


@pytest.fixture
def version(tenant: Tenant) -> str:
    return str(tenant.deploy(["hello"])["id"])


@pytest.fixture
def play(platform: Platform, tenant: Tenant, version: str) -> Play:
    """Makes executors of the current version."""

    def made(node_type: str | None = NODE_TYPE, name: str = "", machine: str = "small-1x") -> Player:
        return Player(executor(platform, tenant, version, name or f"executor_{secrets.token_hex(4)}"), node_type)

    return made


@pytest.fixture(autouse=True)
def _nothing_else_waits(platform: Platform, tenant: Tenant, version: str) -> Iterator[None]:
    yield
    for run in platform.runs.live(tenant.organization, LIVE, "", 1000):
        tenant.client.simulate_post(f"/api/v2/runs/{run.id}/cancel")


LIVE = ["QUEUED", "DELAYED", "PENDING_EXECUTING", "EXECUTING", "EXECUTING_WITH_WAITPOINTS", "QUEUED_EXECUTING", "SUSPENDED"]


def began(play: Play, tenant: Tenant, **options: Any) -> tuple[Player, str]:
    """An executor with a run of its own."""
    run = tenant.trigger(**options)
    player = play()
    assert player.next()["work"]["run"]["id"] == run
    return player, run


def wait_is_over(platform: Platform) -> None:
    """Every date of these tests has come, though the clock stands where it stands."""
    now = platform.clock()
    pending = platform.database.rows("SELECT id FROM waitpoints WHERE status = 'PENDING'")
    platform.waiting.complete([Completion(now, "date", waitpoint=row["id"]) for row in pending], now)


def shown(tenant: Tenant, run: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    RunReply.model_validate(answer)
    return dict(answer)


def timeline(tenant: Tenant, run: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v1/runs/{run}/timeline").json
    TimelineReply.model_validate(answer)
    return dict(answer)


def events(tenant: Tenant, run: str) -> list[str]:
    return [row["event"] for row in timeline(tenant, run)["snapshots"]]


def images(platform: Platform, tenant: Tenant, run: str) -> list[str]:
    """What the object store has of a run, after what is of no use was removed."""
    platform.shredding.remove(platform.clock(), 1000)
    return [each.name for each in platform.objects.list(f"checkpoints/{tenant.environment}/{run}/")]


def row_of(platform: Platform, frozen: Frozen) -> Any:
    return platform.database.rows("SELECT * FROM checkpoints WHERE id = %s", frozen.checkpoint)[0]


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


# --- the wait ends at every moment


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


# --- freezing is off


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


# --- the object store is away (F46), or there is none


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
