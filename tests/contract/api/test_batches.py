"""Batches through the real application: made, filled line by line, sealed, repeated, given up, and read."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane import faults
from sojourn.control_plane.api.batches import LINE_LIMIT
from sojourn.control_plane.api.models.batches import (
    BatchCountedReply,
    BatchFilledReply,
    BatchMadeReply,
    BatchOfRunsReply,
    BatchReply,
    BatchResultsReply,
    BatchTriggeredReply,
    TaskBatchReply,
)
from sojourn.control_plane.api.models.runs import RunReply, RunsReply
from sojourn.control_plane.faults import InjectedFault
from sojourn.control_plane.store.database import Unstorable
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.closer import Closer
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES
from sojourn.sdk.tasks import tasks
from tests.contract.api.conftest import Tenant, connected, first_tenant

BATCHES = "/api/v3/batches"
WHOLE = "/api/v2/tasks/batch"
NDJSON = "application/x-ndjson"


def create(tenant: Tenant, count: int, headers: dict[str, str] | None = None, **body: Any) -> str:
    answer = made(tenant, count, headers, **body)
    assert answer.status_code == 202, answer.text
    assert answer.json["isCached"] is False and answer.json["runCount"] == count
    return str(answer.json["id"])


def made(tenant: Tenant, count: Any, headers: dict[str, str] | None = None, **body: Any) -> testing.Result:
    answer = tenant.client.simulate_post(BATCHES, json={"runCount": count, **body}, headers=headers)
    if answer.status_code < 300:
        BatchMadeReply.model_validate(answer.json)
    return answer


def line(index: Any, task: Any = "hello", payload: Any = None, **options: Any) -> dict[str, Any]:
    return {"index": index, "task": task, "payload": payload} | ({"options": options} if options else {})


def sent(tenant: Tenant, batch: str, items: Iterable[Any], content_type: str = NDJSON) -> testing.Result:
    """The answer to items that are sent; bytes are sent as they are."""
    body = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in items)
    return tenant.client.simulate_post(f"{BATCHES}/{batch}/items", body=body, content_type=content_type)


def fill(tenant: Tenant, batch: str, items: Iterable[Any]) -> dict[str, Any]:
    answer = sent(tenant, batch, items)
    assert answer.status_code == 200, answer.text
    BatchFilledReply.model_validate(answer.json)
    return dict(answer.json)


def retrieve(tenant: Tenant, batch: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v2/batches/{batch}")
    assert answer.status_code == 200, answer.text
    BatchReply.model_validate(answer.json)
    return dict(answer.json)


def results(tenant: Tenant, batch: str, **query: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v1/batches/{batch}/results", params=query)
    assert answer.status_code == 200, answer.text
    BatchResultsReply.model_validate(answer.json)
    return dict(answer.json)


def run(tenant: Tenant, run_id: str) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"/api/v3/runs/{run_id}")
    assert answer.status_code == 200, answer.text
    RunReply.model_validate(answer.json)
    return dict(answer.json)


def cancel(tenant: Tenant, run_ids: Iterable[str]) -> None:
    for each in run_ids:
        assert tenant.client.simulate_post(f"/api/v2/runs/{each}/cancel").status_code == 200


@pytest.fixture(autouse=True)
def hello(tenant: Tenant) -> None:
    tenant.deploy(["hello"])


# --- made and filled


def test_a_batch_is_sealed_with_its_last_item(platform: Platform, tenant: Tenant) -> None:
    batch = create(tenant, 3)
    first = fill(tenant, batch, [line(2, payload="c"), line(0, payload="a", tags="x")])
    assert first == {
        "id": batch, "itemsAccepted": 2, "itemsDeduplicated": 0, "sealed": False, "enqueuedCount": 2, "expectedCount": 3,
    }  # fmt: skip
    found = retrieve(tenant, batch)
    assert (found["status"], found["runCount"], len(found["runs"])) == ("PENDING", 3, 2)
    assert found["processing"] == {"errors": []}
    assert fill(tenant, batch, [line(1, payload="b")]) == {
        "id": batch, "itemsAccepted": 1, "itemsDeduplicated": 0, "sealed": True,
    }  # fmt: skip
    found = retrieve(tenant, batch)
    assert found["status"] == "PROCESSING" and found["processing"]["errors"] == [] and "completedAt" in found["processing"]
    runs = [run(tenant, each) for each in found["runs"]]
    assert [each["payload"] for each in runs] == ["a", "b", "c"]
    assert {(each["status"], each["batchId"], each["triggerFunction"]) for each in runs} == {
        ("QUEUED", batch, "batchTrigger")
    }
    assert runs[0]["tags"] == ["x"]
    waiting = platform.queue.audit(tenant.organization).waiting
    assert set(found["runs"]) <= waiting


def test_a_queue_that_only_an_item_names_is_there(tenant: Tenant) -> None:
    batch = create(tenant, 1)
    fill(tenant, batch, [line(0, queue={"name": "named-by-an-item"})])
    listed = tenant.client.simulate_get("/api/v1/queues", params={"perPage": 100}).json["data"]
    assert ("custom", "named-by-an-item") in {(each["type"], each["name"]) for each in listed}


def test_items_count_once_however_often_they_are_sent(tenant: Tenant) -> None:
    batch = create(tenant, 3)
    items = [line(0), line(1), line(1, payload="the first one counts"), line(2)]
    assert fill(tenant, batch, items[:2])["itemsAccepted"] == 2
    whole = fill(tenant, batch, items)
    assert (whole["itemsAccepted"], whole["itemsDeduplicated"], whole["sealed"]) == (1, 3, True)
    before = retrieve(tenant, batch)["runs"]
    again = fill(tenant, batch, items)
    assert (again["itemsAccepted"], again["itemsDeduplicated"], again["sealed"]) == (0, 4, True)
    assert retrieve(tenant, batch)["runs"] == before


def test_of_two_lines_with_one_index_the_first_counts(tenant: Tenant) -> None:
    batch = create(tenant, 1)
    filled = fill(tenant, batch, [line(0, payload=1), line(0, payload=2)])
    assert (filled["itemsAccepted"], filled["itemsDeduplicated"], filled["sealed"]) == (1, 1, True)
    (only,) = retrieve(tenant, batch)["runs"]
    assert run(tenant, only)["payload"] == 1


def test_requests_that_send_the_same_at_once_store_it_once(tenant: Tenant) -> None:
    batch = create(tenant, 60)
    orders = [[line(index) for index in order] for order in (range(60), reversed(range(60)), [*range(30, 60), *range(30)])]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda items: fill(tenant, batch, items), orders))
    assert sum(each["itemsAccepted"] for each in answers) == 60
    assert any(each["sealed"] for each in answers)
    runs = retrieve(tenant, batch)["runs"]
    assert len(set(runs)) == 60


def test_an_empty_body_tells_how_far_a_batch_is(tenant: Tenant) -> None:
    batch = create(tenant, 2)
    fill(tenant, batch, [line(0)])
    told = fill(tenant, batch, [b"", b"  ", b""])
    assert (told["itemsAccepted"], told["sealed"], told["enqueuedCount"]) == (0, False, 1)


def test_a_large_batch_says_that_it_is_one(tenant: Tenant) -> None:
    for count, headers in ((1001, None), (100_001, {"x-sojourn-batch": "large"}), (0, None), (-1, None), ("2", None)):
        answer = made(tenant, count, headers)
        assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "BODY_INVALID", "runCount")
    batch = create(tenant, 1_200, {"x-sojourn-batch": "large"})
    filled = fill(tenant, batch, (line(index) for index in range(1_200)))
    assert (filled["itemsAccepted"], filled["sealed"]) == (1_200, True)
    runs = retrieve(tenant, batch)["runs"]
    assert len(set(runs)) == 1_200 and runs == sorted(runs), "they are taken in the order of the items"


def test_runs_are_listed_by_their_batch(tenant: Tenant) -> None:
    batch, other = create(tenant, 2), create(tenant, 1)
    fill(tenant, batch, [line(0), line(1)])
    fill(tenant, other, [line(0)])
    answer = tenant.client.simulate_get("/api/v1/runs", params={"filter[batch]": batch})
    RunsReply.model_validate(answer.json)
    assert {each["id"] for each in answer.json["data"]} == set(retrieve(tenant, batch)["runs"])


def test_a_delayed_item_waits_for_its_date(tenant: Tenant) -> None:
    batch = create(tenant, 1)
    fill(tenant, batch, [line(0, delay="1h")])
    (only,) = retrieve(tenant, batch)["runs"]
    assert run(tenant, only)["status"] == "DELAYED"


def test_an_item_of_a_task_that_is_not_deployed_waits_for_its_version(tenant: Tenant) -> None:
    batch = create(tenant, 1)
    fill(tenant, batch, [line(0, "to-come")])
    (only,) = retrieve(tenant, batch)["runs"]
    assert run(tenant, only)["status"] == "PENDING_VERSION"


# --- sent whole


def test_a_batch_that_is_sent_whole(tenant: Tenant) -> None:
    body = {"items": [{"task": "hello", "payload": n, "options": {"queue": {"name": "q"}}} for n in range(3)]}
    answer = tenant.client.simulate_post(WHOLE, json=body)
    assert answer.status_code == 202, answer.text
    BatchTriggeredReply.model_validate(answer.json)
    assert answer.json["runCount"] == 3
    found = retrieve(tenant, answer.json["id"])
    assert found["status"] == "PROCESSING"
    assert [run(tenant, each)["payload"] for each in found["runs"]] == [0, 1, 2]


def test_older_clients_are_told_the_runs(tenant: Tenant) -> None:
    before = tenant.trigger("hello", idempotencyKey="older")
    items = [{"task": "hello", "options": {"idempotencyKey": "older"}}, {"task": "other", "payload": 1}]
    answers = [
        tenant.client.simulate_post("/api/v1/tasks/batch", json={"items": items}, headers={"idempotency-key": "old-batch"})
        for _ in range(2)
    ]
    assert [each.status_code for each in answers] == [200, 200]
    first, again = (each.json for each in answers)
    BatchOfRunsReply.model_validate(first)
    assert (first["isCached"], again["isCached"], first["id"]) == (False, True, again["id"])
    assert first["idempotencyKey"] == "old-batch"
    assert first["runs"][0] == {"id": before, "taskIdentifier": "hello", "isCached": True, "idempotencyKey": "older"}
    assert (first["runs"][1]["taskIdentifier"], first["runs"][1]["isCached"]) == ("other", False)
    assert [each["id"] for each in again["runs"]] == retrieve(tenant, first["id"])["runs"]


def test_the_oldest_clients_trigger_one_task(tenant: Tenant) -> None:
    body = {"items": [{"payload": 1}, {"payload": 2, "options": {"tags": "x"}}], "dependentAttempt": "attempt_1"}
    answer = tenant.client.simulate_post("/api/v1/tasks/mail%2Fsend/batch", json=body)
    assert answer.status_code == 200, answer.text
    TaskBatchReply.model_validate(answer.json)
    runs = [run(tenant, each) for each in answer.json["runs"]]
    assert [each["payload"] for each in runs] == [1, 2]
    assert retrieve(tenant, answer.json["batchId"])["runs"] == answer.json["runs"]
    for wrong in ({"items": []}, {}, {"items": [{"payload": 1}], "parentRunId": "run_1"}):
        answer = tenant.client.simulate_post("/api/v1/tasks/hello/batch", json=wrong)
        assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")


def test_a_whole_batch_that_is_sent_again_is_the_same(tenant: Tenant) -> None:
    body = {"items": [{"task": "hello"}, {"task": "hello"}]}
    for headers in ({"x-trigger-request-idempotency-key": "batch-request-1"}, {"idempotency-key": "batch-key-1"}):
        answers = [tenant.client.simulate_post(WHOLE, json=body, headers=headers) for _ in range(2)]
        assert [each.status_code for each in answers] == [202, 202]
        assert answers[0].json == answers[1].json
        assert len(retrieve(tenant, answers[0].json["id"])["runs"]) == 2


@pytest.mark.parametrize(
    ("items", "field"),
    [([], "items"), ([{"task": "hello"}] * 501, "items"), ([{"task": "hello"}, {"payload": 1}], "items.1.task"),
     ([{"task": 7}], "items.0.task"), ([{"task": "a\nb"}], "items.0.task"), (None, "items"), ([1], "items.0")],
)  # fmt: skip
def test_a_whole_batch_that_cannot_be_read(tenant: Tenant, items: Any, field: str) -> None:
    answer = tenant.client.simulate_post(WHOLE, json={"items": items})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "BODY_INVALID", field)


def test_a_whole_batch_with_a_bad_item_has_the_others(tenant: Tenant) -> None:
    items = [{"task": "hello"}, {"task": "hello", "options": {"tags": [str(n) for n in range(11)]}}, {"task": "hello"}]
    batch = tenant.client.simulate_post(WHOLE, json={"items": items}).json["id"]
    found = retrieve(tenant, batch)
    assert found["status"] == "PARTIAL_FAILED"
    assert [run(tenant, each)["status"] for each in found["runs"]] == ["QUEUED", "SYSTEM_FAILURE", "QUEUED"]


# --- items that cannot be triggered

BAD = [
    (line(1, delay="soon"), "BATCH_ITEM_COULD_NOT_TRIGGER", "options.delay"),
    (line(1, nosuch=1), "BATCH_ITEM_COULD_NOT_TRIGGER", "options.nosuch"),
    (line(1, parentRunId="run_1"), "BATCH_ITEM_COULD_NOT_TRIGGER", "options.parentRunId"),
    (line(1, machine="vast"), "BATCH_ITEM_COULD_NOT_TRIGGER", "options.machine"),
    (line(1, region="mars"), "BATCH_ITEM_COULD_NOT_TRIGGER", "'mars'"),
    (line(1, lockToVersion="20200101.1"), "BATCH_ITEM_COULD_NOT_TRIGGER", "20200101.1"),
    (line(1, tags=[str(n) for n in range(11)]), "BATCH_ITEM_COULD_NOT_TRIGGER", "11 tags"),
    (line(1, metadata="[]"), "BATCH_ITEM_COULD_NOT_TRIGGER", "options.metadata"),
    (line(1, debounce={"key": "a"}), "BATCH_ITEM_COULD_NOT_TRIGGER", "options.debounce.delay"),
    (line(1, payload=1, payloadType="image/png"), "BATCH_ITEM_COULD_NOT_TRIGGER", "image/png"),
    (line(1) | {"more": 1}, "BATCH_ITEM_COULD_NOT_TRIGGER", "more"),
    (line(1, payload="x" * MAX_PAYLOAD_BYTES), "PAYLOAD_TOO_LARGE", "3145728 bytes"),
    (line(1, payload="x" * (MAX_PAYLOAD_BYTES + 600 * 1024)), "PAYLOAD_TOO_LARGE", "bytes"),
    (b'{"task": "hello", "index": 1, "payload": ' + b"[" * 200 + b"]" * 200 + b"}", "BATCH_ITEM_COULD_NOT_TRIGGER", "deep"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "code", "told"), BAD, ids=[f"{n}-{code}" for n, (_, code, _) in enumerate(BAD)])
def test_a_bad_item_becomes_a_run_that_failed_and_the_others_run(tenant: Tenant, bad: Any, code: str, told: str) -> None:
    batch = create(tenant, 3)
    filled = fill(tenant, batch, [line(0, payload="a"), bad, line(2, payload="c")])
    assert (filled["itemsAccepted"], filled["sealed"]) == (3, True)
    found = retrieve(tenant, batch)
    assert found["status"] == "PARTIAL_FAILED"
    first, failed, last = (run(tenant, each) for each in found["runs"])
    assert (first["status"], last["status"], last["payload"]) == ("QUEUED", "QUEUED", "c")
    assert (failed["status"], failed["attemptCount"], failed["error"]["name"]) == ("SYSTEM_FAILURE", 0, code)
    assert told in failed["error"]["message"]
    (flaw,) = found["processing"]["errors"]
    assert (flaw["index"], flaw["taskIdentifier"], flaw["errorCode"]) == (1, "hello", code)
    assert told in flaw["error"]
    (ended,) = results(tenant, batch)["items"]
    assert (ended["ok"], ended["id"], ended["error"]["code"]) == (False, failed["id"], code)
    counted = tenant.client.simulate_get(f"/api/v1/batches/{batch}").json
    BatchCountedReply.model_validate(counted)
    assert (counted["successfulRunCount"], counted["failedRunCount"], counted["finishedRunCount"]) == (2, 1, 1)
    assert counted["errors"] == [flaw]
    history = tenant.client.simulate_get(f"/api/v1/runs/{failed['id']}/timeline").json["snapshots"]
    assert [(each["event"], each["status"]) for each in history] == [("TRIGGER_FAILED", "FINISHED")]


def test_an_item_may_have_the_longest_task_and_key(tenant: Tenant) -> None:
    """They are together more than an index takes, which holds the key's digest."""
    chance = random.Random(7)
    task = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(256))
    key = "".join(chance.choices(string.ascii_letters + string.digits, k=2_048))
    batch = create(tenant, 3)
    assert fill(tenant, batch, [line(0), line(1, task, idempotencyKey=key), line(2, task, idempotencyKey=key)])["sealed"]
    runs = retrieve(tenant, batch)["runs"]
    assert runs[1] == runs[2] and run(tenant, runs[1])["idempotencyKey"] == key
    assert tenant.trigger(task, idempotencyKey=key) == runs[1]


def test_an_item_that_the_database_cannot_hold_fails_alone(
    tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = platform.runs.insert

    def picky(documents: Any) -> Any:
        if any(each["task"] == "unstorable" and each.get("error") is None for each in documents):
            raise Unstorable("index row size 2800 exceeds btree version 4 maximum 2704")
        return insert(documents)

    monkeypatch.setattr(platform.runs, "insert", picky)
    batch = create(tenant, 5)
    assert fill(tenant, batch, [line(0), line(1), line(2, "unstorable"), line(3), line(4)])["sealed"]
    found = retrieve(tenant, batch)
    assert [run(tenant, each)["status"] for each in found["runs"]] == ["QUEUED"] * 2 + ["SYSTEM_FAILURE"] + ["QUEUED"] * 2
    assert "too long" in found["processing"]["errors"][0]["error"]


def test_a_key_is_counted_in_bytes(tenant: Tenant) -> None:
    assert made(tenant, 1, idempotencyKey="é" * 1_024).status_code == 202
    for answer in (
        made(tenant, 1, idempotencyKey="é" * 1_025),
        tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={"options": {"idempotencyKey": "é" * 1_025}}),
    ):
        assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")


def test_a_batch_of_which_nothing_can_be_triggered_is_aborted(tenant: Tenant) -> None:
    batch = create(tenant, 2, idempotencyKey="all-bad")
    assert fill(tenant, batch, [line(0, delay="?"), line(1, delay="?")])["sealed"]
    found = retrieve(tenant, batch)
    assert (found["status"], len(found["processing"]["errors"])) == ("ABORTED", 2) and "completedAt" in found
    assert fill(tenant, batch, [line(0)])["sealed"], "it has had its items"
    assert create(tenant, 2, idempotencyKey="all-bad") != batch


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        (b"{", 400, "INVALID_JSON"),
        (b'{"index": 1, "task": "hello", "payload": NaN}', 400, "INVALID_JSON"),
        (b'{"index": 1, "index": 2, "task": "hello"}', 400, "INVALID_JSON"),
        (b"\xff", 400, "INVALID_JSON"),
        (b"7", 422, "BATCH_ITEM_INVALID"),
        (b"[]", 422, "BATCH_ITEM_INVALID"),
        (line(3), 422, "BATCH_ITEM_INVALID"),
        (line(-1), 422, "BATCH_ITEM_INVALID"),
        (line(10**9), 422, "BATCH_ITEM_INVALID"),
        (line("1"), 422, "BATCH_ITEM_INVALID"),
        (line(True), 422, "BATCH_ITEM_INVALID"),
        (line(1.5), 422, "BATCH_ITEM_INVALID"),
        (line(1, ""), 422, "BATCH_ITEM_INVALID"),
        (line(1, "a\u0000b"), 422, "BATCH_ITEM_INVALID"),
        (line(1, "t" * 257), 422, "BATCH_ITEM_INVALID"),
        ({"task": "hello"}, 422, "BATCH_ITEM_INVALID"),
        ({"index": 1}, 422, "BATCH_ITEM_INVALID"),
        ({"payload": "x" * LINE_LIMIT, "index": 1, "task": "hello"}, 422, "BATCH_ITEM_INVALID"),
    ],
)
def test_a_line_that_says_not_which_item_it_is(tenant: Tenant, bad: Any, status: int, code: str) -> None:
    batch = create(tenant, 3)
    answer = sent(tenant, batch, [line(0), bad, line(2)])
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert retrieve(tenant, batch)["status"] == "PENDING"
    assert fill(tenant, batch, [line(0), line(1), line(2)])["sealed"], "it can be put right"


def test_many_bad_items_are_told_with_the_first_thousand(tenant: Tenant) -> None:
    batch = create(tenant, 1_050, {"x-sojourn-batch": "large"})
    fill(tenant, batch, (line(index, delay="?") for index in range(1_050)))
    found = retrieve(tenant, batch)
    assert [each["index"] for each in found["processing"]["errors"]] == list(range(1_000))
    assert len(found["runs"]) == 1_050


# --- what is sent, and how


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/xndjson"])
def test_items_come_as_ndjson(tenant: Tenant, media_type: str) -> None:
    batch = create(tenant, 1)
    answer = sent(tenant, batch, [line(0)], media_type)
    assert (answer.status_code, answer.json["code"]) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert sent(tenant, batch, [line(0)], "application/ndjson; charset=utf-8").json["sealed"]


def test_items_are_not_read_by_get(tenant: Tenant) -> None:
    answer = tenant.client.simulate_get(f"{BATCHES}/{create(tenant, 1)}/items")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")


def test_a_stream_that_breaks_off_is_sent_again(tenant: Tenant) -> None:
    count = 700
    batch = create(tenant, count)
    body = b"\n".join(json.dumps(line(index)).encode() for index in range(600)) + b'\n{"index": 600, "ta'
    stated = {"Content-Length": str(len(body) + 10)}
    answer = tenant.client.simulate_post(f"{BATCHES}/{batch}/items", body=body, headers=stated, content_type=NDJSON)
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INCOMPLETE")
    found = retrieve(tenant, batch)
    assert found["status"] == "PENDING" and len(found["runs"]) == 500, "what had arrived in whole portions is there"
    whole = fill(tenant, batch, (line(index) for index in range(count)))
    assert (whole["itemsAccepted"], whole["itemsDeduplicated"], whole["sealed"]) == (200, 500, True)
    assert retrieve(tenant, batch)["runs"][:500] == found["runs"]


def test_a_line_may_arrive_in_pieces(tenant: Tenant) -> None:
    batch = create(tenant, 2)
    items = [line(0, payload="ä" * 80_000), line(1, payload="b" * 200_000)]
    assert fill(tenant, batch, [*items, b"\r"])["sealed"]
    first, second = (run(tenant, each)["payload"] for each in retrieve(tenant, batch)["runs"])
    assert (len(first), len(second)) == (80_000, 200_000)


def test_the_sdk_sends_a_large_batch(platform: Platform, tenant: Tenant) -> None:
    client = tenant.sdk()
    items: list[Any] = [{"n": n} for n in range(1_100)]
    items[7] = (7, {"region": "mars"})
    handle = tasks.batch_trigger("hello", items, client=client)
    state = handle.retrieve()
    assert (state.status, state.run_count, [each["index"] for each in state.errors]) == ("PARTIAL_FAILED", 1_100, [7])
    queued = [each for index, each in enumerate(state.runs) if index != 7]
    assert set(queued) <= platform.queue.audit(tenant.organization).waiting
    (only,) = handle.results()
    assert (only.ok, only.id) == (False, state.runs[7])


def test_a_whole_batch_refuses_an_index_that_it_does_not_have(tenant: Tenant) -> None:
    batch = create(tenant, 1)
    for _ in ("before the seal", "after it"):
        for wrong in (line(5), b'{"payload": 1, "task": "hello", "index": 5}'):
            answer = sent(tenant, batch, [wrong])
            assert (answer.status_code, answer.json["code"]) == (422, "BATCH_ITEM_INVALID")
            assert (answer.json["field"], "no index 5" in answer.json["error"]) == ("index", True)
        again = fill(tenant, batch, [line(0)])
        assert again["sealed"]
    assert again["itemsDeduplicated"] == 1
    assert sent(tenant, batch, [b'{"task": "hello"}']).json["code"] == "BATCH_ITEM_INVALID"


# --- keys


def test_an_idempotency_key_leads_to_a_batch_that_is_whole(tenant: Tenant) -> None:
    batch = create(tenant, 2, idempotencyKey="once", idempotencyKeyOptions={"key": "mine", "scope": "global"})
    half = made(tenant, 2, idempotencyKey="once")
    assert (half.status_code, half.json["id"], half.json["isCached"]) == (202, batch, False), "its items are still to come"
    other = made(tenant, 3, idempotencyKey="once")
    assert (other.status_code, other.json["code"], other.json["field"]) == (422, "BATCH_DIFFERS", "idempotencyKey")
    fill(tenant, batch, [line(0), line(1)])
    for count in (2, 3):
        cached = made(tenant, count, idempotencyKey="once")
        assert cached.status_code == 200
        assert cached.json == {"id": batch, "runCount": 2, "isCached": True, "idempotencyKey": "mine"}
    assert retrieve(tenant, batch)["idempotencyKey"] == "mine"


def test_an_idempotency_key_holds_for_its_time(platform: Platform, tenant: Tenant) -> None:
    batch = create(tenant, 1, idempotencyKey="an hour", idempotencyKeyTTL="1h")
    fill(tenant, batch, [line(0)])
    assert made(tenant, 1, idempotencyKey="an hour").json["isCached"]
    platform.database.rows("UPDATE batches SET idempotency_expires_at = now() - interval '1 s' WHERE id = %s", batch)
    assert create(tenant, 1, idempotencyKey="an hour") != batch


def test_a_request_that_is_sent_again_makes_one_batch(tenant: Tenant) -> None:
    headers = {"x-trigger-request-idempotency-key": "request-7"}
    assert create(tenant, 2, headers) == create(tenant, 2, headers)


def test_an_item_whose_key_stands_for_a_run_has_that_run(tenant: Tenant) -> None:
    before = tenant.trigger("hello", idempotencyKey="taken")
    batch = create(tenant, 4)
    items = [line(0, idempotencyKey="taken"), line(1, idempotencyKey="new"), line(2, idempotencyKey="new"), line(3)]
    assert fill(tenant, batch, items)["sealed"]
    first, second, third, fourth = retrieve(tenant, batch)["runs"]
    assert first == before and second == third and len({first, second, fourth}) == 3
    assert "batchId" not in run(tenant, before)


def test_an_item_whose_keys_time_is_over_has_a_run_of_its_own(platform: Platform, tenant: Tenant) -> None:
    before = tenant.trigger("hello", idempotencyKey="stale")
    platform.database.rows("UPDATE runs SET idempotency_expires_at = now() - interval '1 s' WHERE id = %s", before)
    batch = create(tenant, 1)
    fill(tenant, batch, [line(0, idempotencyKey="stale")])
    (only,) = retrieve(tenant, batch)["runs"]
    assert only != before and tenant.trigger("hello", idempotencyKey="stale") == only


def test_batches_that_share_keys_in_other_orders_are_all_filled(tenant: Tenant) -> None:
    keys = [f"shared-{n}" for n in range(40)]
    batches = [create(tenant, 40) for _ in range(4)]
    orders = [keys, keys[::-1], keys[20:] + keys[:20], keys[::-1]]

    def send(place: int) -> dict[str, Any]:
        items = [line(index, idempotencyKey=key) for index, key in enumerate(orders[place])]
        return fill(tenant, batches[place], items)

    with ThreadPoolExecutor(4) as pool:
        assert all(each["sealed"] for each in pool.map(send, range(4)))
    assert len({each for batch in batches for each in retrieve(tenant, batch)["runs"]}) == 40


# --- parents


def test_runs_of_a_batch_are_children_of_the_run_that_triggers(tenant: Tenant) -> None:
    parent = tenant.trigger("hello")
    batch = create(tenant, 2, parentRunId=parent)
    fill(tenant, batch, [line(0), line(1, delay="?")])
    for each in retrieve(tenant, batch)["runs"]:
        assert run(tenant, each)["relatedRuns"]["parent"]["id"] == parent
    cancel(tenant, [parent])
    answer = made(tenant, 1, parentRunId=parent)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (422, "PARENT_IS_OVER", "parentRunId")


def test_items_that_come_when_their_parent_is_over_fail_and_seal_the_batch(tenant: Tenant) -> None:
    parent = tenant.trigger("hello")
    batch = create(tenant, 3, parentRunId=parent)
    fill(tenant, batch, [line(0)])
    cancel(tenant, [parent])
    assert fill(tenant, batch, [line(1), line(2)])["sealed"]
    late = [run(tenant, each) for each in retrieve(tenant, batch)["runs"]][1:]
    assert [each["status"] for each in late] == ["SYSTEM_FAILURE", "SYSTEM_FAILURE"]
    assert all("has ended" in each["error"]["message"] for each in late)


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"resumeParentOnCompletion": True}, 422, "OPTION_UNSUPPORTED", "resumeParentOnCompletion"),
        ({"parentRunId": "run_x"}, 400, "BODY_INVALID", "parentRunId"),
        ({"idempotencyKey": ""}, 400, "BODY_INVALID", "idempotencyKey"),
        ({"idempotencyKey": "x" * 2049}, 400, "BODY_INVALID", "idempotencyKey"),
        ({"idempotencyKeyTTL": "soon"}, 400, "BODY_INVALID", "idempotencyKeyTTL"),
        ({"taskIdentifiers": []}, 400, "BODY_INVALID", "taskIdentifiers"),
        ({"more": 1}, 400, "BODY_INVALID", "more"),
    ],
)
def test_a_batch_that_cannot_be_made(tenant: Tenant, body: Any, status: int, code: str, field: str) -> None:
    answer = made(tenant, 1, **body)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (status, code, field)


# --- ends


def test_a_batch_is_completed_when_its_runs_are_over(platform: Platform, tenant: Tenant) -> None:
    other = tenant.trigger("hello", idempotencyKey="of another")
    batch = create(tenant, 3)
    fill(tenant, batch, [line(0), line(1), line(2, idempotencyKey="of another")])
    runs = retrieve(tenant, batch)["runs"]
    cancel(tenant, runs[:2])
    found = retrieve(tenant, batch)
    assert found["status"] == "PROCESSING", "the run that was there before is not over"
    assert (found["finishedRunCount"], found["runCount"]) == (2, 3)
    cancel(tenant, [other])
    found = retrieve(tenant, batch)
    assert (found["status"], found["finishedRunCount"]) == ("COMPLETED", 3) and "completedAt" in found
    assert [each["id"] for each in results(tenant, batch)["items"]] == runs
    assert results(tenant, batch, after=0)["items"][0]["id"] == runs[1]


def test_the_sweep_completes_what_nobody_looks_at(platform: Platform, tenant: Tenant) -> None:
    batch = create(tenant, 2)
    fill(tenant, batch, [line(0), line(1, delay="?")])
    cancel(tenant, retrieve(tenant, batch)["runs"][:1])
    closer = Closer(platform.batches, seconds=10)
    assert closer.run_once(platform.clock())["closed"] >= 1 and closer.interval(platform.clock()) == 10
    assert closer.run_once(platform.clock()) == {"closed": 0}, "once is enough"
    rows = platform.database.rows("SELECT status FROM batches WHERE id = %s", batch)
    assert rows == [{"status": "COMPLETED"}]


def test_a_batch_whose_items_do_not_come_is_given_up(platform: Platform, tenant: Tenant) -> None:
    batch = create(tenant, 2, idempotencyKey="left")
    fill(tenant, batch, [line(0)])
    patience = timedelta(seconds=platform.config.batch_patience_seconds)
    platform.batches.sweep(platform.clock() + patience - timedelta(seconds=60), 500)
    assert retrieve(tenant, batch)["status"] == "PENDING"
    platform.batches.sweep(platform.clock() + patience + timedelta(seconds=60), 500)
    found = retrieve(tenant, batch)
    assert (found["status"], len(found["runs"])) == ("ABORTED", 1)
    assert run(tenant, found["runs"][0])["status"] == "QUEUED", "what was triggered runs"
    answer = sent(tenant, batch, [line(1)])
    assert (answer.status_code, answer.json["code"]) == (422, "BATCH_OVER")
    assert create(tenant, 2, idempotencyKey="left") != batch


def test_a_crash_before_the_queue_is_told_loses_nothing(platform: Platform, tenant: Tenant) -> None:
    batch = create(tenant, 2)
    faults.switch_on("batch.after_store=raise:1")
    try:
        with pytest.raises(InjectedFault):
            platform.batches.fill(
                platform.access.environment(tenant.environment, platform.clock()), batch,
                list(_items([line(0), line(1)], platform)), platform.clock(),
            )  # fmt: skip
    finally:
        faults.switch_on("")
    found = retrieve(tenant, batch)
    assert (found["status"], len(found["runs"])) == ("PROCESSING", 2)
    assert not set(found["runs"]) & platform.queue.audit(tenant.organization).waiting
    assert fill(tenant, batch, [line(0), line(1)])["itemsAccepted"] == 0
    later = platform.clock() + timedelta(seconds=60)
    platform.recovery.sweep(tenant.organization, later)
    assert set(found["runs"]) <= platform.queue.audit(tenant.organization).waiting


def _items(lines: list[dict[str, Any]], platform: Platform) -> Iterator[Any]:
    from sojourn.control_plane.api.batches import item_of
    from sojourn.control_plane.api.ndjson import Line

    for number, each in enumerate(lines, 1):
        yield item_of(Line(number, json.dumps(each).encode()), "api", platform.clock())


def test_a_batch_is_refused_where_it_has_no_room(databases: Any, redis_url: str, tmp_path_factory: Any) -> None:
    """On a platform of its own; what was admitted is not refused later."""
    with connected(databases, redis_url, tmp_path_factory.mktemp("data")) as platform:
        tenant = first_tenant(platform)
        platform.triggering.room.limit = 3
        batch = create(tenant, 3)
        answer = made(tenant, 4)
        assert (answer.status_code, answer.json["code"]) == (422, "QUEUE_FULL")
        assert fill(tenant, batch, [line(0), line(1), line(2)])["sealed"]


# --- tenants


def test_a_strangers_batch_is_not_there(tenant: Tenant, stranger: Tenant, sibling: Tenant) -> None:
    batch = create(tenant, 2, idempotencyKey="mine alone")
    fill(tenant, batch, [line(0)])
    for other in (stranger, sibling):
        for missing in (batch, "batch_" + "0" * 26, "batch_x", "x", batch.upper()):
            for path in (f"/api/v1/batches/{missing}", f"/api/v2/batches/{missing}", f"/api/v1/batches/{missing}/results"):
                answer = other.client.simulate_get(path)
                assert (answer.status_code, answer.json["code"]) == (404, "BATCH_NOT_FOUND")
            answer = sent(other, missing, [line(1)])
            assert (answer.status_code, answer.json["code"]) == (404, "BATCH_NOT_FOUND")
        answer = other.client.simulate_get("/api/v1/runs", params={"filter[batch]": batch})
        assert answer.json["data"] == []
        assert create(other, 2, idempotencyKey="mine alone") != batch
    assert len(retrieve(tenant, batch)["runs"]) == 1


def test_a_strangers_run_is_no_parent(tenant: Tenant, stranger: Tenant) -> None:
    parent = stranger.trigger("hello")
    batch = create(tenant, 1, parentRunId=parent)
    fill(tenant, batch, [line(0)])
    (only,) = retrieve(tenant, batch)["runs"]
    assert "parent" not in run(tenant, only)["relatedRuns"]


def test_no_invariant_is_broken(platform: Platform, tenant: Tenant) -> None:
    platform.recovery.sweep(tenant.organization, platform.clock() + timedelta(seconds=60))
    assert [each for each in platform.checks.check(platform.clock()) if each.invariant != "I6"] == []
