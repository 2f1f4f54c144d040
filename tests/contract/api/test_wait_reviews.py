"""Waits whose calls come twice, late, or ask for more than fits into one answer."""

from __future__ import annotations

import json
import secrets
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane import faults
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.waits import Completion
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, executor
from tests.contract.api.test_waits import begun, child, date, wait
from tests.contract.api.worker_calls import ask, completed, held
from tests.support.freezing import NODE_TYPE, Player


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls something, once, when a fault point is passed."""

    def at(name: str, call: Any) -> None:
        left = [call]

        def point(passed: str) -> None:
            if passed == name and left:
                left.pop()()

        monkeypatch.setattr(faults, "point", point)

    return at


def test_a_wait_that_is_told_again_while_its_first_call_is_under_way(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, nested: Any
) -> None:
    """The connection broke and the shim has told it again: both calls come to a stand at once, and neither is refused."""
    work = begun(tenant, worker)
    wish, answers = date(platform, 3600), []
    nested("wait.before_block", lambda: answers.append(wait(worker, work, wish)))
    body = {**held(work), "waits": [wish], "pending": [wish["key"]], "block": "any"}
    answer = worker.simulate_post("/worker/v1/wait", json=body)
    assert answers[0]["state"] == "blocked"
    assert (answer.status_code, answer.json.get("state")) == (200, "blocked"), answer.text


def test_an_image_that_arrives_twice_stays_when_the_run_is_suspended(
    platform: Platform, tenant: Tenant, version: str, nested: Any
) -> None:
    player = Player(executor(platform, tenant, version, "executor_" + secrets.token_hex(4)))
    run = tenant.trigger()
    assert player.next()["work"]["run"]["id"] == run
    player.block(platform.clock() + timedelta(hours=1))
    begun = player.begin().json
    image = b"image" * 1000

    def meanwhile() -> None:
        """The same upload once more, whole; and the suspension that follows it."""
        assert player.store(begun["checkpoint"], image).status_code == 200
        told = {"checkpoint": begun["checkpoint"], "nodeType": NODE_TYPE, "sealedBytes": len(image)}
        assert player.post("suspend", player.held(**told)).status_code == 200

    nested("freezing.after_upload", meanwhile)
    player.store(begun["checkpoint"], image)
    stored = [each.name for each in platform.objects.list(f"checkpoints/{tenant.environment}/{run}/")]
    assert stored, "the run is suspended with this image and it was deleted"


def test_an_old_poll_of_an_executor_whose_run_waits_gets_no_other(platform: Platform, tenant: Tenant, version: str) -> None:
    name = "executor_" + secrets.token_hex(4)
    worker = executor(platform, tenant, version, name)
    work = begun(tenant, worker)
    assert wait(worker, work, date(platform, 3600))["state"] == "blocked"
    other = tenant.trigger()
    answer = ask(worker, wait=0, served=1)
    assert "work" not in answer, "its process has a run that waits in memory"
    run = platform.runs.any(other)
    assert run and run.executor_id != name


def test_results_come_in_answers_of_bounded_size(
    platform: Platform, tenant: Tenant, version: str, worker: testing.TestClient
) -> None:
    work = begun(tenant, worker)
    output = json.dumps("x" * 9_000_000)
    runs = []
    for _ in range(6):
        other = executor(platform, tenant, version, "executor_" + secrets.token_hex(4))
        made = begun(tenant, other)
        ask(other, wait=None, served=1, completion=completed(made, {"ok": True, "output": output}))
        runs.append(made["run"]["id"])
    waits = [child(run, f"1:{n}") for n, run in enumerate(runs)]
    body = {**held(work), "waits": waits, "pending": [each["key"] for each in waits], "block": "all"}
    answer = worker.simulate_post("/worker/v1/wait", json=body)
    assert len(answer.content) < 25_000_000, f"{len(answer.content)} bytes in one answer"
    done, pending = dict(answer.json["done"]), [each["key"] for each in waits]
    assert answer.json["state"] == "ready"
    while left := [key for key in pending if key not in done]:
        more = worker.simulate_post("/worker/v1/heartbeat", json={**held(work), "wait": 0, "pending": left})
        assert len(more.content) < 25_000_000
        assert more.json["done"]
        done |= more.json["done"]
    assert set(done) == set(pending)


def test_a_date_with_a_key_that_is_over_is_not_left_to_the_sweep(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    work = begun(tenant, worker)
    told = wait(worker, work, date(platform, -1, idempotencyKey=secrets.token_hex(4)))
    assert told["state"] == "ready", "it would stand still until the sweep"


def test_a_process_that_is_frozen_anew_has_a_place_of_its_own(platform: Platform, tenant: Tenant, version: str) -> None:
    """The older image may be stuck on its way to the disk: it must not come to stand for the newer one."""
    player = Player(executor(platform, tenant, version, "executor_" + secrets.token_hex(4)))
    tenant.trigger()
    player.next()
    player.block(platform.clock() + timedelta(hours=1))
    first = player.begin().json
    platform.database.rows(
        "UPDATE checkpoints SET created_at = created_at - interval '30 s' WHERE id = %s", first["checkpoint"]
    )
    second = player.begin().json
    assert first["checkpoint"] != second["checkpoint"] and first["key"] != second["key"]


def test_why_a_process_is_not_frozen_is_told_after_it_was_blocked(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    """Criu refuses when it is asked, and that is after the run stands still."""
    work = begun(tenant, worker)
    wish = date(platform, 3600)
    work["snapshot"] = wait(worker, work, wish)["snapshot"]
    assert wait(worker, work, pending=[wish["key"]], hold="criu refused")["state"] == "blocked"
    run = tenant.client.simulate_get(f"/api/v3/runs/{work['run']['id']}").json
    assert run["aliveReason"] == "criu refused"


def test_a_frozen_run_in_a_lane_of_before_is_put_into_its_own(
    platform: Platform, tenant: Tenant, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis was away when the run was blocked, so that the queue has it as it was, for those who cannot thaw it."""
    player = Player(executor(platform, tenant, version, "executor_" + secrets.token_hex(4)))
    run = tenant.trigger()
    assert player.next()["work"]["run"]["id"] == run
    with monkeypatch.context() as patch:
        patch.setattr(Index, "ack", lambda *_: None)
        player.freeze(platform.clock() + timedelta(hours=1))
    pending = platform.database.rows("SELECT id FROM waitpoints WHERE status = 'PENDING'")
    now = platform.clock()
    platform.waiting.complete([Completion(now, "date", waitpoint=row["id"]) for row in pending], now)
    platform.recovery.sweep(tenant.organization, now + timedelta(minutes=2))
    claim, claims = platform.runs.claim, []

    def counted(wishes: Any) -> Any:
        claims.append(wishes)
        assert len(claims) < 20, "it is taken and put back without end"
        return claim(wishes)

    monkeypatch.setattr(platform.runs, "claim", counted)
    plain = Player(executor(platform, tenant, version, "executor_" + secrets.token_hex(4)), None)
    assert plain.next(wait=1) == {}
    assert player.next()["work"]["thaw"]
