"""Metadata that a run's own code changes, as its executor tells of it: each change once, in order, whatever is lost."""

from __future__ import annotations

from typing import Any

import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.control_plane.api.models.worker import LogsTakenReply
from sojourn.executor_shim.changes import Changes
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_waits import begun
from tests.contract.api.worker_calls import ask, completed, held


def change(n: int, whose: str = "run", kind: str = "increment", key: str = "n", value: Any = 1) -> dict[str, Any]:
    return {"n": (1 << 32) + n, "whose": whose, "operation": {"type": kind, "key": key, "value": value}}


def tell(worker: testing.TestClient, work: dict[str, Any], changes: list[Any]) -> dict[str, Any]:
    answer = worker.simulate_post("/worker/v1/logs", json={**held(work), "lines": [], "changes": changes})
    assert answer.status_code == 200, answer.text
    LogsTakenReply.model_validate(answer.json)
    return dict(answer.json)


def metadata(tenant: Tenant, run: str) -> dict[str, Any]:
    return dict(tenant.client.simulate_get(f"/api/v1/runs/{run}/metadata").json["metadata"])


def finish(worker: testing.TestClient, work: dict[str, Any], **more: Any) -> None:
    ask(worker, wait=None, served=1, completion=completed(work, {"ok": True}, **more))


def test_a_change_that_is_told_again_counts_once(tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    run = work["run"]["id"]
    for changes in ([change(1)], [change(1), change(2)], [change(2)], [change(3)]):
        assert tell(worker, work, changes) == {}
    assert metadata(tenant, run) == {"n": 3}
    finish(worker, work, changes=[change(3), change(4)])
    assert metadata(tenant, run) == {"n": 4}
    tell(worker, work, [change(4)])
    assert metadata(tenant, run) == {"n": 4}, "a copy that comes after the end"


def test_parent_and_root_are_changed_with_it(tenant: Tenant, worker: testing.TestClient) -> None:
    root = tenant.trigger("later")
    parent = tenant.trigger("later", parentRunId=root)
    work = begun(tenant, worker, parentRunId=parent)
    tell(worker, work, [change(1), change(2, "parent"), change(3, "root"), change(4, "parent")])
    assert [metadata(tenant, each) for each in (work["run"]["id"], parent, root)] == [{"n": 1}, {"n": 2}, {"n": 1}]
    finish(worker, work)


def test_a_run_without_relatives_changes_its_own(tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    tell(worker, work, [change(1, "parent"), change(2, "root")])
    assert metadata(tenant, work["run"]["id"]) == {"n": 2}
    finish(worker, work)


def test_a_change_that_does_not_fit_keeps_no_other_away_and_is_told(tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker, metadata={"n": "text"})
    told = tell(worker, work, [change(1), change(2, key="m"), change(3, kind="set", key="big", value="x" * 262_144)])
    assert metadata(tenant, work["run"]["id"]) == {"n": "text", "m": 1}
    assert len(told["refused"]) == 2 and "no number" in told["refused"][0]
    assert tell(worker, work, [change(1), change(2, key="m")]) == {}
    finish(worker, work)


def test_of_thousands_of_changes_those_that_fit_are_made(tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker, metadata={"text": ""})
    changes = [change(n, key="text" if n in (7, 4_000) else "n") for n in range(1, 5_001)]
    assert len(tell(worker, work, changes)["refused"]) == 2
    assert metadata(tenant, work["run"]["id"])["n"] == 4_998
    many = [change(n, key="text") for n in range(5_001, 6_001)]
    told = tell(worker, work, many)["refused"]
    assert len(told) == 21 and "980 changes" in told[-1]
    finish(worker, work)


@pytest.mark.parametrize(
    "bad",
    [7, {}, {**change(1), "n": "1"}, {**change(1), "n": -1}, {**change(1), "n": 2**63}, {**change(1), "whose": "all"},
     {**change(1), "operation": {"type": "explode"}}, {**change(1), "operation": None}, change(1, key=""),
     change(1, key="k" * 1_001), change(1, key="a\x00"), change(1, value=10**301), change(1, kind="update")],
)  # fmt: skip
def test_what_makes_no_sense_is_passed_over_and_told(
    tenant: Tenant, worker: testing.TestClient, caplog: pytest.LogCaptureFixture, bad: Any
) -> None:
    work = begun(tenant, worker)
    told = tell(worker, work, [bad, change(2)])["refused"]
    assert len(told) == 1 and len(told[0]) < 400
    assert metadata(tenant, work["run"]["id"]) == {"n": 1}
    finish(worker, work, changes=[bad])
    assert f"the metadata of {work['run']['id']} was not changed" in caplog.text


def test_of_changes_that_make_no_sense_some_are_told(tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    told = tell(worker, work, [*([7] * 12_000), change(1)])["refused"]
    assert len(told) == 20 and told[0] == "2001 changes are too many at once"
    finish(worker, work)


def test_another_run_s_token_changes_nothing(tenant: Tenant, worker: testing.TestClient) -> None:
    other = tenant.trigger("later")
    work = begun(tenant, worker)
    body = {**held(work), "run": other, "lines": [], "changes": [change(1)]}
    assert worker.simulate_post("/worker/v1/logs", json=body).status_code == 401
    assert metadata(tenant, other) == {}
    finish(worker, work)


def test_apps_and_the_run_itself_count_together(tenant: Tenant, worker: testing.TestClient) -> None:
    work = begun(tenant, worker)
    run = work["run"]["id"]
    body = {"operations": [{"type": "increment", "key": "n", "value": 10}]}
    for n in (1, 2):
        tell(worker, work, [change(n)])
        assert tenant.client.simulate_put(f"/api/v1/runs/{run}/metadata", json=body).status_code == 200
    assert metadata(tenant, run) == {"n": 22}
    finish(worker, work)


def test_a_request_that_is_sent_again_counts_once(tenant: Tenant) -> None:
    parent = tenant.trigger("later")
    run = tenant.trigger("later", parentRunId=parent)
    grow = {"type": "increment", "key": "n", "value": 1}

    def ask(key: str, **body: Any) -> testing.Result:
        headers = {"x-trigger-request-idempotency-key": key}
        return tenant.client.simulate_put(f"/api/v1/runs/{run}/metadata", json=body, headers=headers)

    for key in ("one", "one", "two", "one"):
        assert ask(key, operations=[grow], parentOperations=[grow]).status_code == 200
    assert (metadata(tenant, run), metadata(tenant, parent)) == ({"n": 2}, {"n": 2})
    assert ask("three", operations=[{**grow, "key": "$."}]).status_code == 422
    assert ask("three", operations=[grow]).json == {"metadata": {"n": 3}}, "what was refused was not done"


STEPS = st.lists(st.sampled_from(["change", "told", "lost", "answer lost", "copy"]), max_size=30)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_is_lost_or_told_twice_each_change_counts_once(
    tenant: Tenant, worker: testing.TestClient, steps: list[str]
) -> None:
    """The shim's buffer and the platform together: calls that are lost, answers that are, copies that come late."""
    work = begun(tenant, worker)
    buffer, made, sent = Changes(1), 0, list[list[dict[str, Any]]]()
    for step in steps:
        if step == "change":
            made += 1
            operation = {"type": "append", "key": "seen", "value": made}
            buffer.add({"n": made, "whose": "run", "operation": operation})
        elif step == "copy" and sent:
            tell(worker, work, sent[0])
        elif step in ("told", "answer lost") and buffer.unsent():
            sent.append(buffer.unsent(60))
            tell(worker, work, sent[-1])
            if step == "told":
                buffer.forget(sent[-1][-1]["n"])
    finish(worker, work, changes=buffer.unsent())
    assert metadata(tenant, work["run"]["id"]).get("seen", []) == list(range(1, made + 1))
