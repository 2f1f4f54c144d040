"""Batches of the SDK: what is sent, in which portions, and what comes of it in a test without a platform."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest

from sojourn import ApiError, BatchNotSealedError, BatchState, batch, task, tasks, testing
from sojourn.sdk import context as contexts
from sojourn.sdk.auth import Auth
from sojourn.sdk.backoff import ITEMS
from sojourn.sdk.caller import ATTEMPTS
from sojourn.sdk.client import Client
from sojourn.sdk.context import RunContext
from sojourn.sdk.errors import ApiConnectionError, ConfigurationError, PayloadError, UnprocessableError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.run import trigger
from sojourn.sdk.task import Task
from tests.unit.sdk.test_client import TRIGGERED, Script

MADE = (202, {"id": "batch_1", "runCount": 3, "isCached": False})
SEALED = (200, {"id": "batch_1", "itemsAccepted": 3, "itemsDeduplicated": 0, "sealed": True})
OPEN = (200, {"id": "batch_1", "itemsAccepted": 1, "itemsDeduplicated": 0, "sealed": False, "enqueuedCount": 1})


def child() -> Task:
    @task(id="child", retry={"max_attempts": 1})
    def work(payload: int) -> int:
        if payload < 0:
            raise ValueError("negative")
        return payload * 2

    return work


def lines(request: Request) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (request.body or b"").splitlines()]


# --- on the wire


def test_a_batch_on_the_wire() -> None:
    script = Script(MADE, SEALED)
    handle = tasks.batch_trigger("mail", [1, ("b", {"tags": ["x"]}), (3, 4)], client=script.client(), priority=2)
    assert (handle.id, handle.run_count, handle.is_cached) == ("batch_1", 3, False)
    created, sent = script.sent
    assert (created.method, created.path) == ("POST", "/api/v3/batches")
    assert json.loads(created.body or b"") == {"runCount": 3, "taskIdentifiers": ["mail"]}
    assert created.headers["x-sojourn-batch"] == "large"
    assert (sent.method, sent.path) == ("POST", "/api/v3/batches/batch_1/items")
    assert sent.headers["Content-Type"] == "application/x-ndjson"
    assert lines(sent) == [
        {"index": 0, "task": "mail", "payload": 1, "options": {"priority": 2}},
        {"index": 1, "task": "mail", "payload": "b", "options": {"priority": 2, "tags": ["x"]}},
        {"index": 2, "task": "mail", "payload": [3, 4], "options": {"priority": 2}},
    ]
    assert (sent.body or b"").startswith(b'{"index":0,"task":"mail",')


def test_a_batch_of_several_tasks() -> None:
    script = Script(MADE, SEALED)
    batch.trigger([(child(), 1), ("mail", 2, {"queue": "slow"}), ("mail", None)], client=script.client())
    assert lines(script.sent[1]) == [
        {"index": 0, "task": "child", "payload": 1},
        {"index": 1, "task": "mail", "payload": 2, "options": {"queue": {"name": "slow"}}},
        {"index": 2, "task": "mail", "payload": None},
    ]
    for wrong in ("mail", ("mail",), (7, 1), ("mail", 1, {}, 2)):
        with pytest.raises(ConfigurationError):
            batch.trigger([wrong], client=script.client())


def test_many_items_go_in_portions() -> None:
    script = Script(MADE, OPEN, OPEN, SEALED)
    tasks.batch_trigger("mail", range(2_500), client=script.client())
    assert [len(lines(each)) for each in script.sent[1:]] == [1_000, 1_000, 500]
    assert [lines(each)[0]["index"] for each in script.sent[1:]] == [0, 1_000, 2_000]


def test_nothing_is_sent_where_an_item_would_lose_a_key() -> None:
    script = Script(MADE)
    with pytest.raises(PayloadError, match=r"item 1500 .*'1' twice"):
        tasks.batch_trigger("mail", [*range(1_500), {1: "a", "1": "b"}], client=script.client())
    with pytest.raises(PayloadError, match="'1' twice"):
        trigger("mail", {1: "a", "1": "b"}, {}, client=script.client())
    assert script.sent == []


def test_large_items_go_in_portions() -> None:
    script = Script(MADE, OPEN, OPEN, SEALED)
    tasks.batch_trigger("mail", ["x" * 600_000] * 3, client=script.client())
    assert [len(lines(each)) for each in script.sent[1:]] == [1, 1, 1]


def test_a_portion_that_was_lost_is_sent_again() -> None:
    script = Script(MADE, ApiConnectionError("cut off"), SEALED)
    tasks.batch_trigger("mail", [1, 2, 3], client=script.client())
    assert lines(script.sent[1]) == lines(script.sent[2])


def test_all_is_sent_five_times_at_most() -> None:
    script = Script(MADE, OPEN, SEALED)
    tasks.batch_trigger("mail", [1, 2, 3], client=script.client())
    assert lines(script.sent[1]) == lines(script.sent[2])
    script = Script(MADE, OPEN)
    with pytest.raises(BatchNotSealedError, match="1 of 3"):
        tasks.batch_trigger("mail", [1, 2, 3], client=script.client())
    assert len(script.sent) == 6
    assert [least <= pause <= 2 * least for pause, least in zip(script.pauses, (1, 2, 4, 8), strict=True)] == [True] * 4


def test_items_are_sent_again_after_pauses_by_chance() -> None:
    assert list(islice(ITEMS.pauses(lambda: 0.5), 6)) == [1.5, 3.0, 6.0, 12.0, 24.0, 30.0]
    script = Script(MADE, (503, {}))
    with pytest.raises(ApiError):
        tasks.batch_trigger("mail", [1, 2, 3], client=script.client())
    assert [least <= pause <= 2 * least for pause, least in zip(script.pauses, (1, 2, 4, 8), strict=True)] == [True] * 4


def test_a_batch_of_too_many_tasks_to_name_names_none() -> None:
    script = Script((202, {"id": "batch_1", "runCount": 200, "isCached": False}), SEALED)
    batch.trigger([(f"{n:0250}", n) for n in range(200)], client=script.client())
    assert json.loads(script.sent[0].body or b"") == {"runCount": 200}


def test_a_batch_that_is_there_is_not_sent_again() -> None:
    script = Script((200, {"id": "batch_1", "runCount": 2, "isCached": True}))
    handle = tasks.batch_trigger("mail", [1, 2], client=script.client(), idempotency_key="k", idempotency_key_ttl="1h")
    assert handle.is_cached and len(script.sent) == 1
    assert json.loads(script.sent[0].body or b"") == {
        "runCount": 2, "taskIdentifiers": ["mail"], "idempotencyKey": "k", "idempotencyKeyTTL": "3600s",
    }  # fmt: skip


def test_a_public_token_triggers_in_nobodys_name() -> None:
    script = Script(MADE, SEALED, TRIGGERED)
    before = contexts.enter(RunContext({"run": {"id": "run_9"}}))
    try:
        with Auth(script.client()).with_token("a.b.c"):
            tasks.batch_trigger("mail", [1, 2, 3])
            trigger("mail", None, {})
    finally:
        contexts.enter(before)
    assert len(script.sent) == 3
    assert not any(b"parentRunId" in (sent.body or b"") for sent in script.sent)


def test_inside_a_run_the_batch_is_the_runs() -> None:
    script = Script(MADE, SEALED)
    before = contexts.enter(RunContext({"run": {"id": "run_9"}, "batch": {"id": "batch_0"}}))
    try:
        assert contexts.context.batch is not None and contexts.context.batch.id == "batch_0"
        tasks.batch_trigger("mail", [1, (2, {"idempotency_key": "i"}), 3], client=script.client(), idempotency_key="k")
    finally:
        contexts.enter(before)
    body = json.loads(script.sent[0].body or b"")
    assert body["parentRunId"] == "run_9" and len(body["idempotencyKey"]) == 64
    options = lines(script.sent[1])[1]["options"]
    assert "parentRunId" not in options and options["idempotencyKeyOptions"] == {"key": "i", "scope": "run"}


def test_nothing_is_sent_that_is_not_json() -> None:
    script = Script(MADE, SEALED)
    with pytest.raises(PayloadError, match="item 1"):
        tasks.batch_trigger("mail", [1, b"bytes"], client=script.client())
    with pytest.raises(ConfigurationError, match="item 0"):
        tasks.batch_trigger("mail", [(1, {"metadata": {"a": b""}})], client=script.client())
    with pytest.raises(TypeError, match="no option"):
        tasks.batch_trigger("mail", [1], client=script.client(), tag="x")
    with pytest.raises(ConfigurationError, match="one item at least"):
        tasks.batch_trigger("mail", [], client=script.client())
    assert script.sent == []


def test_what_the_api_refuses_is_raised() -> None:
    script = Script((422, {"error": "full", "code": "QUEUE_FULL"}))
    with pytest.raises(UnprocessableError):
        tasks.batch_trigger("mail", [1], client=script.client())
    gone = Script(ApiConnectionError("no answer"))
    with pytest.raises(ApiConnectionError):
        tasks.batch_trigger("mail", [1], client=gone.client())
    keys = {each.headers["x-trigger-request-idempotency-key"] for each in gone.sent}
    assert (len(gone.sent), len(keys)) == (ATTEMPTS, 1)


def test_a_batch_is_read() -> None:
    wire = {
        "id": "batch_1", "status": "PARTIAL_FAILED", "runCount": 2, "runs": ["run_1", "run_2"],
        "createdAt": "2026-03-04T12:00:00.000Z", "updatedAt": "2026-03-04T12:00:01.000Z",
        "processing": {"errors": [{"index": 1, "taskIdentifier": "mail", "error": "no", "errorCode": "X"}]},
    }  # fmt: skip
    script = Script((200, wire))
    state = batch.retrieve("batch_1", client=script.client())
    assert (state.status, state.runs, state.errors[0]["index"]) == ("PARTIAL_FAILED", ("run_1", "run_2"), 1)
    assert state.created_at.tzinfo is not None and state.completed_at is None
    assert state == BatchState(wire) and "batch_1" in repr(state)


def test_results_are_read_page_after_page() -> None:
    def item(n: int) -> dict[str, Any]:
        return {"ok": True, "id": f"run_{n}", "taskIdentifier": "mail", "output": str(n), "outputType": "application/json"}

    script = Script((200, {"id": "b", "items": [item(1)], "next": 0}), (200, {"id": "b", "items": [item(2)]}))
    assert [each.output for each in batch.results("b", client=script.client())] == [1, 2]
    assert [each.path for each in script.sent] == ["/api/v1/batches/b/results", "/api/v1/batches/b/results?after=0"]


def test_waiting_for_a_batch_triggers_it_as_one() -> None:
    def answer(request: Request) -> Response:
        sent.append(request.path)
        if request.path.endswith("/result?wait=30.000"):
            ok = {"ok": "run_2" not in request.path, "id": request.path.split("/")[4], "outputType": "application/json"}
            told: dict[str, Any] = {**ok, **({"output": "1"} if ok["ok"] else {"error": {"code": "PAYLOAD_TOO_LARGE"}})}
        elif request.method == "GET":
            dates = {"createdAt": "2026-03-04T12:00:00Z", "updatedAt": "2026-03-04T12:00:00Z"}
            told = {"id": "batch_1", "status": "PARTIAL_FAILED", "runCount": 2, "runs": ["run_1", "run_2"], **dates}
        else:
            told = SEALED[1] if request.path.endswith("/items") else MADE[1]
        return Response(200, {}, json.dumps(told).encode())

    sent: list[str] = []
    results = tasks.batch_trigger_and_wait("mail", [1, 2], client=Client("http://api.test", "tr_x", transport=answer))
    assert [(each.ok, each.id) for each in results] == [(True, "run_1"), (False, "run_2")]
    assert len(sent) == 5


# --- in a test without a platform


def test_a_batch_runs_in_place() -> None:
    work = child()
    with testing.Platform() as platform:
        handle = work.batch_trigger([1, (2, {"tags": ["x"]}), -1], priority=1)
        state = handle.retrieve()
        assert (state.status, state.run_count, list(state.runs)) == ("COMPLETED", 3, list(platform.runs))
        assert [each.output if each.ok else None for each in handle.results()] == [2, 4, None]
        assert platform.options[state.runs[1]] == {"tags": ["x"], "priority": 1}


def test_a_key_leads_to_the_batch_that_was_there() -> None:
    work = child()
    with testing.Platform() as platform:
        first = work.batch_trigger([1, 2], idempotency_key="k")
        again = work.batch_trigger([1, 2], idempotency_key="k")
        assert (again.id, again.is_cached, len(platform.runs)) == (first.id, True, 2)


def test_a_run_triggers_a_batch() -> None:
    work = child()

    @task
    def parent() -> Any:
        return list(work.batch_trigger([1, 2]).retrieve().runs)

    @task
    async def parent_in_loop() -> Any:
        handle = await work.batch_trigger([3])
        state = await handle.retrieve()
        return [state.status, [each.output for each in await batch.results(handle.id)]]

    with testing.Platform() as platform:
        runs = testing.run(parent).output
        assert [platform.options[each]["parentRunId"] for each in runs] == ["run_test"] * 2
        assert testing.run(parent_in_loop).output == ["COMPLETED", [6]]


def test_an_item_of_a_task_that_is_not_there() -> None:
    with testing.Platform(), pytest.raises(Exception, match="no task 'nobody'"):
        tasks.batch_trigger("nobody", [1])
