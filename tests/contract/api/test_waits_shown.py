"""What a run shows of its waits: while it stands still, and afterwards."""

from __future__ import annotations

from typing import Any

from falcon import testing

from sojourn.control_plane.api.models.runs import TimelineReply
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant
from tests.contract.api.frozen_runs import shown
from tests.contract.api.test_waits import begun, child, date, stands, wait
from tests.support.freezing import Player, soon


def waits(tenant: Tenant, run: str) -> list[dict[str, Any]]:
    answer = tenant.client.simulate_get(f"/api/v1/runs/{run}/timeline").json
    TimelineReply.model_validate(answer)
    return list(answer["waits"])


def cancel(tenant: Tenant, run: str) -> None:
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")


def test_a_blocked_run_says_what_it_needs(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    run, awaited = work["run"]["id"], tenant.trigger("child", delay="1h")
    token = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={"timeout": "2h"}).json["id"]
    assert "waitingFor" not in shown(tenant, run) and waits(tenant, run) == []
    for_a_token = {"key": "1:2", "kind": "token", "waitpoint": token}
    wait(worker, work, date(platform, 3600), for_a_token, child(awaited, "1:10"), block="all")

    told = shown(tenant, run)
    assert (told["status"], told["waitingFor"]["need"]) == ("EXECUTING", "all")
    found = told["waitingFor"]["waits"]
    assert [(each["key"], each["kind"], each["status"]) for each in found] == [
        ("1:1", "date", "WAITING"),
        ("1:2", "token", "WAITING"),
        ("1:10", "run", "WAITING"),
    ]
    assert (found[1]["waitpoint"], found[2]["run"]) == (token, awaited)
    assert "until" in found[0] and "until" in found[1] and "until" not in found[2]
    assert all(each["since"] >= told["startedAt"] and each["attempt"] == 1 for each in found)

    tenant.client.simulate_post(f"/api/v1/waitpoints/tokens/{token}/complete", json={"data": 1})
    found = shown(tenant, run)["waitingFor"]["waits"]
    assert [each["status"] for each in found] == ["WAITING", "COMPLETED", "WAITING"]
    assert found[1]["doneAt"] >= found[1]["since"]

    cancel(tenant, awaited)
    platform.database.rows("UPDATE waitpoints SET due_at = now() - interval '1 s' WHERE id = %s", found[0]["waitpoint"])
    platform.waiting.complete_due(platform.clock())
    assert "waitingFor" not in shown(tenant, run), "it waits for its slots alone"
    platform.placing.readmit(platform.clock())
    assert stands(platform, work)[0] == "EXECUTING" and "waitingFor" not in shown(tenant, run)
    assert [each["status"] for each in waits(tenant, run)] == ["COMPLETED"] * 3
    cancel(tenant, run)


def test_a_frozen_run_says_what_it_needs(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger()
    player = Player(worker)
    player.next()
    player.freeze(soon(platform.clock()))
    told = shown(tenant, run)
    assert told["status"] == "WAITING" and [each["kind"] for each in told["waitingFor"]["waits"]] == ["date"]
    platform.database.rows(
        "UPDATE waitpoints SET due_at = now() - interval '1 s' WHERE status = 'PENDING' AND kind = 'date'"
    )
    platform.waiting.complete_due(platform.clock())
    told = shown(tenant, run)
    assert told["status"] == "WAITING" and "waitingFor" not in told, "it waits for its turn"
    player.next()
    player.go_on()
    assert [each["status"] for each in waits(tenant, run)] == ["COMPLETED"]
    cancel(tenant, run)


def test_a_token_s_wait_that_timed_out(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    token = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={"timeout": "1h"}).json["id"]
    wait(worker, work, {"key": "1:1", "kind": "token", "waitpoint": token})
    platform.database.rows("UPDATE waitpoints SET due_at = now() - interval '1 s' WHERE id = %s", token)
    platform.waiting.complete_due(platform.clock())
    assert [each["status"] for each in waits(tenant, work["run"]["id"])] == ["TIMED_OUT"]
    cancel(tenant, work["run"]["id"])


def test_of_many_waits_the_newest_are_shown(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    wishes = [date(platform, 3600, f"1:{n}") for n in range(1, 251)]
    wait(worker, work, *wishes, block="all")
    run = work["run"]["id"]
    for found in (waits(tenant, run), shown(tenant, run)["waitingFor"]["waits"]):
        assert [each["key"] for each in found] == [f"1:{n}" for n in range(51, 251)]
    cancel(tenant, run)
