"""A run's events, its trace and its spans: made of what the store has, with ids that stay."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn.control_plane.api import traces
from sojourn.control_plane.api.models.traces import RunEventsReply, SpanReply, TraceReply
from sojourn.control_plane.api.spans import MAX_LEVELS
from sojourn.control_plane.telemetry.logs import Line
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, executor
from tests.support.freezing import Player, soon


@pytest.fixture(scope="module")
def version(tenant: Tenant) -> str:
    return str(tenant.deploy(["parent", "child"])["id"])


@pytest.fixture(autouse=True)
def empty(platform: Platform, tenant: Tenant) -> None:
    for table in ("run_waits", "waitpoints", "run_logs", "snapshots", "runs"):
        platform.database.rows(f"DELETE FROM {table}")
    platform.redis.flushall()
    platform.recovery.rebuild(tenant.organization, platform.clock())


@pytest.fixture
def player(platform: Platform, tenant: Tenant, version: str) -> Player:
    return Player(executor(platform, tenant, version))


def read(tenant: Tenant, run: str, what: str) -> Any:
    answer = tenant.client.simulate_get(f"/api/v1/runs/{run}/{what}")
    assert answer.status_code == 200, answer.text
    return answer.json


def spans(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node] + [each for child in node["children"] for each in spans(child)]


def test_a_run_with_an_attempt_a_wait_lines_and_children(tenant: Tenant, platform: Platform, player: Player) -> None:
    run = tenant.trigger("parent", payload={"a": 1})
    player.next()
    child = tenant.trigger("child", parentRunId=run)
    grandchild = tenant.trigger("child", parentRunId=child)
    platform.logs.append(tenant.environment, run, [Line(1, 1, platform.clock(), "logger", "ERROR", "it is bad", {"n": 1})])
    player.block(soon(platform.clock()))
    told = read(tenant, run, "trace")
    TraceReply.model_validate(told)
    root = told["trace"]["rootSpan"]
    (attempt,) = root["children"]
    assert (root["runId"], root["data"]["message"], root["data"]["isPartial"]) == (run, "parent", True)
    assert (attempt["data"]["message"], attempt["data"]["isPartial"], attempt["data"]["duration"]) == ("Attempt 1", True, 0)
    by_message = {each["data"]["message"]: each for each in attempt["children"]}
    assert set(by_message) == {"wait until a date", "it is bad", "child"}
    assert by_message["it is bad"]["data"]["level"] == "ERROR"
    (below,) = by_message["child"]["children"]
    assert (by_message["child"]["runId"], below["runId"]) == (child, grandchild)

    events = read(tenant, run, "events")
    RunEventsReply.model_validate(events)
    assert {each["spanId"] for each in events["events"]} == {each["id"] for each in spans(root)}
    starts = [int(each["startTime"]) for each in events["events"]]
    assert starts == sorted(starts) and starts[0] > 1_700_000_000 * 10**9
    assert events["events"][0]["parentId"] is None and events["events"][0]["spanId"] == root["id"]

    of_child = read(tenant, child, "trace")["trace"]
    assert of_child["traceId"] == told["trace"]["traceId"]
    assert (of_child["rootSpan"]["id"], of_child["rootSpan"]["parentId"]) == (by_message["child"]["id"], root["id"])

    detail = read(tenant, run, f"spans/{attempt['id']}")
    SpanReply.model_validate(detail)
    assert (detail["entityType"], detail["parentId"]) == ("attempt", root["id"])
    assert [each["runId"] for each in detail["triggeredRuns"]] == [child]
    line = read(tenant, run, f"spans/{by_message['it is bad']['id']}")
    assert (line["properties"], line["isError"], line["durationMs"]) == ({"n": 1}, True, 0)


def test_ids_stay_while_the_run_goes_on(tenant: Tenant, player: Player) -> None:
    run = tenant.trigger("parent")
    before = read(tenant, run, "trace")["trace"]
    player.next()
    amid = read(tenant, run, "trace")["trace"]
    player.complete({"ok": False, "error": {"type": "STRING_ERROR", "raw": "no"}, "skippedRetrying": True})
    after = read(tenant, run, "trace")["trace"]
    assert before["traceId"] == after["traceId"]
    assert [each["id"] for each in spans(amid["rootSpan"])] == [each["id"] for each in spans(after["rootSpan"])]
    assert before["rootSpan"]["id"] == after["rootSpan"]["id"]
    data = [each["data"] for each in spans(after["rootSpan"])]
    assert [(each["isError"], each["isPartial"]) for each in data] == [(True, False), (True, False)]
    assert data[1]["properties"]["error"] == {"message": "no"}
    assert [each["name"] for each in data[0]["events"]][:2] == ["TRIGGER", "DEQUEUE"]


def test_a_cancelled_run(tenant: Tenant) -> None:
    run = tenant.trigger("parent")
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    data = read(tenant, run, "trace")["trace"]["rootSpan"]["data"]
    assert (data["isCancelled"], data["isError"], data["isPartial"]) == (True, False, False)


def test_what_is_shown_is_bounded(
    tenant: Tenant, platform: Platform, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tenant.trigger("parent")
    player.next()
    for n in range(1, 4):
        tenant.trigger("child", parentRunId=run)
        platform.logs.append(tenant.environment, run, [Line(1, n, platform.clock(), "logger", "LOG", f"line {n}")])
    monkeypatch.setattr(traces, "MAX_LINES", 2)
    monkeypatch.setattr(traces, "MAX_RUNS", 2)
    assert len(read(tenant, run, "events")["events"]) == 1 + 1 + 2 + 2


def test_a_long_chain_is_a_tree_down_to_a_level(tenant: Tenant, platform: Platform) -> None:
    """It is as deep as the chain is long; events have no depth."""
    root = tenant.trigger("parent")
    platform.database.rows(
        "INSERT INTO runs SELECT (jsonb_populate_record(r, jsonb_build_object('id', 'run_' || lpad(n::text, 26, '0'),"
        " 'parent_run_id', CASE n WHEN 1 THEN r.id ELSE 'run_' || lpad((n - 1)::text, 26, '0') END))).*"
        " FROM runs r, generate_series(1, 490) n WHERE r.id = %s",
        root,
    )
    node, depth = read(tenant, root, "trace")["trace"]["rootSpan"], 1
    while node["children"]:
        (node,) = node["children"]
        depth += 1
    assert depth == MAX_LEVELS
    assert len(read(tenant, root, "events")["events"]) == 491


def test_what_is_not_there(tenant: Tenant, stranger: Tenant) -> None:
    run = tenant.trigger("parent")
    span = read(tenant, run, "events")["events"][0]["spanId"]
    for what in ("events", "trace", f"spans/{span}"):
        answer = stranger.client.simulate_get(f"/api/v1/runs/{run}/{what}")
        assert (answer.status_code, answer.json["code"]) == (404, "RUN_NOT_FOUND")
        assert answer.headers["x-should-retry"] == "false"
    for name in ("0" * 16, "x", "%00"):
        answer = tenant.client.simulate_get(f"/api/v1/runs/{run}/spans/{name}")
        assert (answer.status_code, answer.json["code"]) == (404, "SPAN_NOT_FOUND")
