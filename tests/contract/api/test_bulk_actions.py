"""Bulk actions through the real application: what they act on, how they go on after a crash, who sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.control_plane import faults
from sojourn.control_plane.api.models.bulk_actions import BulkActionReply, BulkActionsReply
from sojourn.control_plane.engine import bulk_actions
from sojourn.control_plane.engine.errors import QueueFull
from sojourn.control_plane.engine.triggering import REQUEST_LIFE
from sojourn.control_plane.store import migrations
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.bulker import Bulker
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_lost_and_late import Crew, crew

__all__ = ["crew"]

PATH = "/api/v1/bulk-actions"


@pytest.fixture(autouse=True)
def empty(platform: Platform) -> Iterator[None]:
    for table in ("bulk_action_runs", "bulk_actions", "snapshots", "runs"):
        platform.database.rows(f"DELETE FROM {table}")
    yield
    faults.switch_on("")


def begin(tenant: Tenant, **body: Any) -> str:
    answer = tenant.client.simulate_post(PATH, json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def look(tenant: Tenant, action: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"{PATH}/{action}")
    BulkActionReply.model_validate(answer.json)
    return dict(answer.json)


def work(platform: Platform) -> None:
    """The scheduler's passes, until there is nothing to do."""
    service = Bulker(platform.bulk_actions, 10)
    service.run_once(platform.clock())
    while service.interval(platform.clock()) == 0:
        service.run_once(platform.clock())


def statuses(platform: Platform, runs: list[str]) -> list[str]:
    found = [platform.runs.any(run) for run in runs]
    return [run.status for run in found if run]


def listed(tenant: Tenant, **query: str) -> set[str]:
    answer = tenant.client.simulate_get("/api/v1/runs", params={"page[size]": "100", **query})
    return {each["id"] for each in answer.json["data"]}


def counts(total: int, success: int, failure: int = 0) -> dict[str, int]:
    return {"total": total, "success": success, "failure": failure}


def test_runs_that_a_filter_finds_are_cancelled(tenant: Tenant, stranger: Tenant, platform: Platform) -> None:
    mine, other = [tenant.trigger("a", tags=["x"]) for _ in range(3)], tenant.trigger("b", tags=["x"])
    theirs = stranger.trigger("a", tags=["x"])
    action = begin(tenant, action="cancel", filter={"taskIdentifier": "a", "tag": ["x"]}, name="stop it")
    begun = look(tenant, action)
    assert (begun["type"], begun["status"], begun["name"]) == ("CANCEL", "PENDING", "stop it")
    later = tenant.trigger("a", tags=["x"])
    work(platform)
    over = look(tenant, action)
    assert (over["status"], over["counts"]) == ("COMPLETED", counts(3, 3)) and "completedAt" in over
    assert statuses(platform, mine) == ["CANCELED"] * 3
    assert "CANCELED" not in statuses(platform, [other, theirs, later])
    assert listed(tenant, **{"filter[bulkAction]": action}) == set(mine)
    assert tenant.client.simulate_get(f"/api/v3/runs/{mine[0]}").json["bulkActionIds"] == [action]
    assert "bulkActionIds" not in tenant.client.simulate_get(f"/api/v3/runs/{other}").json


def test_an_action_waits_until_all_runs_are_in_their_lists(
    tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would find nothing, and be complete."""
    run = tenant.trigger("a", tags=["x"])
    monkeypatch.setattr(platform.bulk_actions, "_whole", False)
    platform.database.rows("CREATE TABLE facet_filling AS SELECT '' AS reached")
    platform.database.rows("DELETE FROM run_facets WHERE run_id = %s", run)
    action = begin(tenant, action="cancel", filter={"tag": ["x"]})
    try:
        work(platform)
        assert look(tenant, action)["status"] == "PENDING"
    finally:
        while migrations.unfinished(platform.database):
            migrations._fill_facets(platform.database)
    work(platform)
    assert (look(tenant, action)["counts"], statuses(platform, [run])) == (counts(1, 1), ["CANCELED"])


def test_runs_that_are_over_are_not_looked_for(tenant: Tenant, platform: Platform) -> None:
    over, live = tenant.trigger("a"), tenant.trigger("a")
    tenant.client.simulate_post(f"/api/v2/runs/{over}/cancel")
    action = begin(tenant, action="cancel", filter={})
    work(platform)
    assert look(tenant, action)["counts"] == counts(1, 1)
    assert statuses(platform, [over, live]) == ["CANCELED"] * 2


def test_runs_by_their_ids(tenant: Tenant, stranger: Tenant, platform: Platform) -> None:
    """What is over, of another environment or not there at all has failed."""
    over, live, theirs = tenant.trigger("a"), tenant.trigger("a"), stranger.trigger("a")
    tenant.client.simulate_post(f"/api/v2/runs/{over}/cancel")
    named = [over, live, live, theirs, "run_" + "0" * 26, "run_" + "z" * 26]
    action = begin(tenant, action="cancel", runIds=named)
    assert look(tenant, action)["counts"] == counts(5, 0)
    work(platform)
    assert look(tenant, action)["counts"] == counts(5, 1, 4)
    assert statuses(platform, [live, theirs])[0] == "CANCELED"
    assert statuses(platform, [theirs]) != ["CANCELED"]


def test_runs_are_replayed_once_each(tenant: Tenant, platform: Platform) -> None:
    tenant.deploy(["a"])
    made = [tenant.trigger("a", payload={"n": n}, tags=["old"]) for n in range(3)]
    action = begin(tenant, action="replay", filter={"tag": "old"})
    work(platform)
    assert look(tenant, action)["counts"] == counts(3, 3)
    replays = listed(tenant, **{"filter[bulkAction]": action})
    assert len(replays) == 3 and not replays & set(made)
    found = [platform.runs.any(run) for run in replays]
    assert {run.replay_of for run in found if run} == set(made)
    assert listed(tenant) == replays | set(made)


def test_failed_runs_are_replayed_by_their_error(tenant: Tenant, platform: Platform) -> None:
    failed, other = tenant.trigger("a"), tenant.trigger("a")
    for run, name in ((failed, "ValueError"), (other, "KeyError")):
        platform.database.rows(
            "UPDATE runs SET status = 'FAILED', snapshot_status = 'FINISHED', finished_at = now(), error = %s"
            " WHERE id = %s",
            json.dumps({"type": "BUILT_IN_ERROR", "name": name, "message": "no"}),
            run,
        )
    action = begin(tenant, action="replay", filter={"error": ["ValueError", "TypeError"]})
    work(platform)
    assert look(tenant, action)["counts"] == counts(1, 1)
    (replay,) = listed(tenant, **{"filter[bulkAction]": action})
    found = platform.runs.any(replay)
    assert found and found.replay_of == failed
    refused = tenant.client.simulate_post(PATH, json={"action": "cancel", "filter": {"error": "ValueError"}})
    assert (refused.status_code, refused.json["field"]) == (400, "filter.error")


def test_an_action_sees_each_run_as_it_is_when_its_turn_comes(tenant: Tenant, platform: Platform) -> None:
    gone, stays = tenant.trigger("a"), tenant.trigger("a")
    action = begin(tenant, action="cancel", filter={"taskIdentifier": "a", "status": ["PENDING_VERSION", "QUEUED"]})
    tenant.client.simulate_post(f"/api/v2/runs/{gone}/cancel")
    work(platform)
    assert look(tenant, action)["counts"] == counts(1, 1)
    assert statuses(platform, [stays]) == ["CANCELED"]


def test_running_runs_are_asked_to_stop(crew: Crew, tenant: Tenant, platform: Platform) -> None:
    run = tenant.trigger()
    assert crew.ask("executor_1").assignment is not None
    action = begin(tenant, action="cancel", filter={"status": ["EXECUTING", "DEQUEUED"]})
    work(platform)
    assert look(tenant, action)["counts"] == counts(1, 1)
    assert (crew.status(run), statuses(platform, [run])) == ("PENDING_CANCEL", ["CANCELED"])


def test_a_run_that_moves_meanwhile_is_cancelled_all_the_same(
    crew: Crew, tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves, stays = tenant.trigger(), tenant.trigger("unknown")
    move_all = platform.runs.move_all

    def started_first(wishes: Any) -> Any:
        monkeypatch.setattr(platform.runs, "move_all", move_all)
        assert crew.ask("executor_1").assignment is not None
        return move_all(wishes)

    action = begin(tenant, action="cancel", runIds=[moves, stays])
    monkeypatch.setattr(platform.runs, "move_all", started_first)
    work(platform)
    assert look(tenant, action)["counts"] == counts(2, 2)
    assert (crew.status(moves), crew.status(stays)) == ("PENDING_CANCEL", "FINISHED")


def test_what_is_below_is_cancelled_by_the_canceller(crew: Crew, tenant: Tenant, platform: Platform) -> None:
    parent = tenant.trigger("b")
    child = tenant.trigger("a", parentRunId=parent)
    begin(tenant, action="cancel", filter={"taskIdentifier": "b"})
    work(platform)
    platform.cancelling.sweep(platform.clock(), 10)
    assert statuses(platform, [parent, child]) == ["CANCELED", "CANCELED"]


@pytest.mark.parametrize("kind", ["cancel", "replay"])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(crash_after=st.lists(st.integers(1, 5), max_size=3), seed=st.integers(0, 99))
def test_a_crash_loses_nothing_and_does_nothing_twice(
    tenant: Tenant, platform: Platform, kind: str, crash_after: list[int], seed: int
) -> None:
    for table in ("bulk_action_runs", "bulk_actions", "snapshots", "runs"):
        platform.database.rows(f"DELETE FROM {table}")
    runs = [tenant.trigger("a", tags=["old"]) for _ in range(5)]
    action = begin(tenant, action=kind, filter={"tag": "old"})
    stored = platform.stored_bulk_actions
    owner: Any = stored if kind == "cancel" else platform.bulk_actions
    name = "advance" if kind == "cancel" else "_replay_one"
    does = getattr(owner, name)
    for number in crash_after:
        left = iter(range(number))

        def dies(*given: Any, left: Any = left, **named: Any) -> Any:
            """Cancels are in the store before their page counts; of replays some are."""
            done = does(*given, **named) if kind == "replay" else None
            if kind == "cancel" or next(left, None) is None:
                raise faults.InjectedFault("dead")
            return done

        setattr(owner, name, dies)
        try:
            platform.bulk_actions.work(platform.clock())
        except faults.InjectedFault:
            pass
        finally:
            setattr(owner, name, does)
    work(platform)
    assert look(tenant, action)["counts"] == counts(5, 5)
    affected = listed(tenant, **{"filter[bulkAction]": action})
    assert len(affected) == 5
    if kind == "cancel":
        assert affected == set(runs) and set(statuses(platform, runs)) == {"CANCELED"}
    else:
        assert listed(tenant) == affected | set(runs) and not affected & set(runs)


def test_the_fault_point_is_between_act_and_count(tenant: Tenant, platform: Platform) -> None:
    runs = [tenant.trigger("a") for _ in range(2)]
    action = begin(tenant, action="cancel", filter={})
    faults.switch_on("bulk.after_act=raise")
    with pytest.raises(faults.InjectedFault):
        platform.bulk_actions.work(platform.clock())
    assert sorted(statuses(platform, runs))[0] == "CANCELED" and look(tenant, action)["counts"] == counts(2, 0)
    faults.switch_on("")
    work(platform)
    assert look(tenant, action)["counts"] == counts(2, 2)


def test_two_schedulers_at_once_count_each_page_once(
    tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_actions, "PAGE", 2)
    runs = [tenant.trigger("a", tags=["old"]) for _ in range(5)]
    action = begin(tenant, action="replay", filter={"tag": "old"})
    replay, other = platform.bulk_actions._replay_one, {"turn": True}

    def meanwhile(*given: Any) -> Any:
        if other["turn"]:  # the other one does all of the page while this one is in the middle of it
            other["turn"] = False
            platform.bulk_actions.work(platform.clock())
            other["turn"] = True
        return replay(*given)

    monkeypatch.setattr(platform.bulk_actions, "_replay_one", meanwhile)
    work(platform)
    assert look(tenant, action)["counts"] == counts(5, 5)
    assert len(listed(tenant)) == 10
    found = [platform.runs.any(run) for run in listed(tenant, **{"filter[bulkAction]": action})]
    assert sorted(str(run.replay_of) for run in found if run) == sorted(runs)


def test_abort(tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_actions, "PAGE", 2)
    for _ in range(5):
        tenant.trigger("a")
    action = begin(tenant, action="cancel", filter={})
    platform.bulk_actions.work(platform.clock())
    for _ in range(2):
        answer = tenant.client.simulate_post(f"{PATH}/{action}/abort")
        assert (answer.status_code, answer.json) == (200, {"id": action})
    work(platform)
    over = look(tenant, action)
    assert (over["status"], over["counts"]) == ("ABORTED", counts(5, 2))
    done = begin(tenant, action="cancel", filter={})
    work(platform)
    answer = tenant.client.simulate_post(f"{PATH}/{done}/abort")
    assert (answer.status_code, answer.json["code"]) == (422, "BULK_ACTION_OVER")


def test_what_was_begun_before_an_abort_is_counted(tenant: Tenant, platform: Platform) -> None:
    for _ in range(2):
        tenant.trigger("a")
    action = begin(tenant, action="cancel", filter={})
    faults.switch_on("bulk.after_act=raise")
    with pytest.raises(faults.InjectedFault):
        platform.bulk_actions.work(platform.clock())
    faults.switch_on("")
    tenant.client.simulate_post(f"{PATH}/{action}/abort")
    work(platform)
    assert (look(tenant, action)["status"], look(tenant, action)["counts"]) == ("ABORTED", counts(2, 2))


@pytest.mark.parametrize("kind", ["cancel", "replay"])
def test_an_abort_begins_nothing_of_the_page_under_way(
    tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Also at a full queue, at which a page waits half done."""
    for _ in range(3):
        tenant.trigger("a", tags=["old"])
    action = begin(tenant, action=kind, filter={"tag": "old"})
    owner: Any = platform.replaying if kind == "replay" else platform.runs
    name = "replay" if kind == "replay" else "move_all"
    real, left = getattr(owner, name), iter([1])

    def full_after_one(*given: Any, **named: Any) -> Any:
        if kind == "cancel":
            real(list(given[0])[:1])
        elif next(left, None):
            return real(*given, **named)
        raise QueueFull

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, full_after_one)
        platform.bulk_actions.work(platform.clock())
    assert look(tenant, action)["counts"] == counts(3, 1 if kind == "replay" else 0)
    tenant.client.simulate_post(f"{PATH}/{action}/abort")
    work(platform)
    over = look(tenant, action)
    assert (over["status"], over["counts"]) == ("ABORTED", counts(3, 1))
    assert len(listed(tenant, **{"filter[bulkAction]": action})) == 1
    assert len(listed(tenant)) == (4 if kind == "replay" else 3)
    assert len(listed(tenant, **{"filter[status]": "CANCELED"})) == (0 if kind == "replay" else 1)


def test_an_action_that_fails_holds_no_other_up(
    tenant: Tenant, stranger: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, run = begin(tenant, action="cancel", filter={}), stranger.trigger("a")
    action, turn = begin(stranger, action="cancel", filter={}), platform.bulk_actions._turn

    def fails(one: Any, now: Any) -> int:
        if one.id == broken:
            raise OverflowError
        return turn(one, now)

    monkeypatch.setattr(platform.bulk_actions, "_turn", fails)
    work(platform)
    assert (look(tenant, broken)["status"], look(stranger, action)["status"]) == ("PENDING", "COMPLETED")
    assert statuses(platform, [run]) == ["CANCELED"]


@pytest.mark.parametrize(
    ("dates", "found"),
    [
        ({"from": 978_307_200_000}, 1),
        ({"from": "1969-12-31"}, 1),
        ({"from": "0001-01-01T00:00:00Z"}, 1),
        ({"to": "9999-12-31T23:59:59.999999Z"}, 1),
        ({"to": 978_307_200_000}, 0),
        ({"to": "0001-01-01"}, 0),
        ({"from": "9999-12-31T23:59:59.999999Z"}, 0),
    ],
)
def test_dates_at_the_ends_of_time(tenant: Tenant, platform: Platform, dates: dict[str, Any], found: int) -> None:
    tenant.trigger("a")
    assert len(listed(tenant, **{f"filter[createdAt][{name}]": str(date) for name, date in dates.items()})) == found
    action = begin(tenant, action="cancel", filter=dates)
    work(platform)
    over = look(tenant, action)
    assert (over["status"], over["counts"]) == ("COMPLETED", counts(found, found))


def test_a_page_of_cancels_reads_no_payloads(tenant: Tenant, platform: Platform) -> None:
    run = tenant.trigger("a", payload={"n": 1})
    (found,) = platform.runs.find_all(tenant.environment, [run])
    assert (found.id, found.task, found.payload) == (run, "a", None)


def test_a_full_queue_is_waited_for(tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant.trigger("a", tags=["old"])
    action = begin(tenant, action="replay", filter={"tag": "old"})

    def full(*_: Any, **__: Any) -> None:
        raise QueueFull

    with monkeypatch.context() as patched:
        patched.setattr(platform.replaying, "replay", full)
        work(platform)
        assert look(tenant, action)["status"] == "PENDING"
    work(platform)
    assert look(tenant, action)["counts"] == counts(1, 1)


def test_a_page_that_waits_for_days_at_a_full_queue_makes_no_replay_twice(
    tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients' requests are known for a day; what a page made before the queue was full, for as long as it takes."""
    made = [tenant.trigger("a", tags=["old"]) for _ in range(3)]
    action = begin(tenant, action="replay", filter={"tag": "old"})
    replay, room = platform.replaying.replay, iter([1, 2])

    def full_after_two(*given: Any, **named: Any) -> Any:
        if next(room, None) is None:
            raise QueueFull
        return replay(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(platform.replaying, "replay", full_after_two)
        platform.bulk_actions.work(platform.clock())
    assert len(listed(tenant)) == 5 and look(tenant, action)["status"] == "PENDING"
    later = platform.clock() + 3 * REQUEST_LIFE
    while platform.bulk_actions.work(later):
        pass
    assert look(tenant, action)["counts"] == counts(3, 3)
    replays = [platform.runs.any(run) for run in listed(tenant, **{"filter[bulkAction]": action})]
    assert sorted(str(run.replay_of) for run in replays if run) == sorted(made)
    assert len(listed(tenant)) == 6


@pytest.mark.parametrize("pruned", ["sources", "replays"])
def test_what_is_pruned_while_a_page_waits_is_neither_lost_nor_made_again(
    tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch, pruned: str
) -> None:
    for _ in range(3):
        tenant.trigger("a", tags=["old"])
    action = begin(tenant, action="replay", filter={"tag": "old"})
    replay, room = platform.replaying.replay, iter([1, 2])

    def full_after_two(*given: Any, **named: Any) -> Any:
        if next(room, None) is None:
            raise QueueFull
        return replay(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(platform.replaying, "replay", full_after_two)
        assert platform.bulk_actions.work(platform.clock()) == 2
        assert platform.bulk_actions.work(platform.clock()) == 0, "nothing is left to do until there is room"
    assert look(tenant, action)["counts"] == counts(3, 2)
    made = listed(tenant, **{"filter[bulkAction]": action})
    replays = [run for run in map(platform.runs.any, made) if run]
    gone = list(made) if pruned == "replays" else [str(run.replay_of) for run in replays]
    platform.database.rows("UPDATE runs SET replay_of = NULL WHERE replay_of = ANY(%s)", gone)
    platform.database.rows("DELETE FROM snapshots WHERE run_id = ANY(%s)", gone)
    platform.database.rows("DELETE FROM runs WHERE id = ANY(%s)", gone)
    work(platform)
    assert look(tenant, action)["counts"] == counts(3, 3)
    assert len(listed(tenant)) == 4


def test_a_page_that_was_cut_off_knows_its_replay_of_a_run_that_is_pruned(
    tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tenant.trigger("a", tags=["old"])
    action = begin(tenant, action="replay", filter={"tag": "old"})
    with monkeypatch.context() as patched:
        patched.setattr(platform.bulk_actions._actions, "advance", lambda *_: 1 / 0)
        work(platform)
    platform.database.rows("UPDATE runs SET replay_of = NULL WHERE replay_of = %s", run)
    platform.database.rows("DELETE FROM snapshots WHERE run_id = %s", run)
    platform.database.rows("DELETE FROM runs WHERE id = %s", run)
    work(platform)
    assert look(tenant, action)["counts"] == counts(1, 1)
    assert len(listed(tenant)) == 1


def test_a_request_that_is_repeated_makes_one_action(tenant: Tenant) -> None:
    headers = {"x-trigger-request-idempotency-key": "bulk-1"}
    body = {"action": "cancel", "filter": {}}
    answers = [tenant.client.simulate_post(PATH, json=body, headers=headers).json["id"] for _ in range(2)]
    assert answers[0] == answers[1]


def test_pages(tenant: Tenant, stranger: Tenant) -> None:
    made = sorted((begin(tenant, action="cancel", filter={}, name=f"n{n}") for n in range(3)), reverse=True)
    begin(stranger, action="cancel", filter={})
    first = tenant.client.simulate_get(PATH, params={"page[size]": "2"}).json
    BulkActionsReply.model_validate(first)
    assert [each["id"] for each in first["data"]] == made[:2] and "previous" not in first["pagination"]
    query = {"page[size]": "2", "page[after]": first["pagination"]["next"]}
    second = tenant.client.simulate_get(PATH, params=query).json
    assert [each["id"] for each in second["data"]] == made[2:] and "next" not in second["pagination"]
    query = {"page[size]": "2", "page[before]": second["pagination"]["previous"]}
    assert tenant.client.simulate_get(PATH, params=query).json["data"] == first["data"]


def test_as_many_as_may_are_under_way(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_actions, "MOST_PENDING", 1)
    begin(tenant, action="cancel", filter={})
    answer = tenant.client.simulate_post(PATH, json={"action": "cancel", "filter": {}})
    assert (answer.status_code, answer.json["code"]) == (422, "TOO_MANY_BULK_ACTIONS")


def test_another_environments_action_is_not_there(tenant: Tenant, sibling: Tenant, stranger: Tenant) -> None:
    action = begin(tenant, action="cancel", filter={})
    for other in (sibling, stranger):
        for answer in (
            other.client.simulate_get(f"{PATH}/{action}"),
            other.client.simulate_post(f"{PATH}/{action}/abort"),
        ):
            assert (answer.status_code, answer.json["code"]) == (404, "BULK_ACTION_NOT_FOUND")
        assert other.client.simulate_get(PATH).json["data"] == []
    assert look(tenant, action)["status"] == "PENDING"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "action"),
        ({"action": "delete", "filter": {}}, "action"),
        ({"action": "cancel"}, ""),
        ({"action": "cancel", "filter": {}, "runIds": ["run_" + "0" * 26]}, ""),
        ({"action": "cancel", "runIds": []}, "runIds"),
        ({"action": "cancel", "runIds": ["x"]}, "runIds.0"),
        ({"action": "cancel", "runIds": ["run_" + "0" * 26] * 501}, "runIds"),
        ({"action": "cancel", "filter": {"status": "NOPE"}}, "filter.status"),
        ({"action": "cancel", "filter": {"status": "COMPLETED"}}, "filter.status"),
        ({"action": "cancel", "filter": {"machine": "huge"}}, "filter.machine"),
        ({"action": "cancel", "filter": {"period": "x"}}, "filter.period"),
        ({"action": "cancel", "filter": {"from": "soon"}}, "filter.from"),
        ({"action": "cancel", "filter": {"nope": 1}}, "filter.nope"),
        ({"action": "cancel", "filter": {"queue": {"type": "x", "name": "q"}}}, "filter.queue.type"),
        ({"action": "cancel", "filter": {"tag": []}}, "filter.tag"),
        ({"action": "cancel", "filter": {"tag": ""}}, "filter.tag"),
        ({"action": "cancel", "filter": {"tag": None}}, "filter"),
        ({"action": "cancel", "filter": {"queue": []}}, "filter.queue"),
        ({"action": "cancel", "filter": {"machine": []}}, "filter.machine"),
        ({"action": "cancel", "filter": {}, "targetRegion": "default"}, "targetRegion"),
        ({"action": "cancel", "filter": {}, "name": "x" * 256}, "name"),
    ],
)
def test_what_cannot_be_used_is_named(tenant: Tenant, body: dict[str, Any], field: str) -> None:
    answer: testing.Result = tenant.client.simulate_post(PATH, json=body)
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")
    assert answer.json.get("field", "") == field


def test_a_region_that_is_not_there(tenant: Tenant) -> None:
    answer = tenant.client.simulate_post(PATH, json={"action": "replay", "filter": {}, "targetRegion": "moon"})
    assert (answer.status_code, answer.json["code"]) == (422, "REGION_UNKNOWN")


def test_fsck_sees_counts_and_facets_that_are_wrong(tenant: Tenant, platform: Platform) -> None:
    def found() -> set[tuple[str, str]]:
        violations = platform.checks.check(platform.clock())
        return {(each.invariant, each.run) for each in violations if each.invariant in ("I8", "I11")}

    run = tenant.trigger("a", tags=["x"])
    action = begin(tenant, action="cancel", runIds=[run])
    work(platform)
    assert found() == set()
    platform.database.rows("UPDATE bulk_actions SET succeeded = 2")
    assert found() == {("I8", action)}
    platform.database.rows("UPDATE bulk_actions SET succeeded = 1")
    platform.database.rows("UPDATE run_facets SET key = 7 WHERE key = facet_key('x', %s, 'tag')", tenant.environment)
    assert found() == {("I11", run)}
