"""Large payloads and outputs through the real application: kept in the object store, read where they are needed."""

from __future__ import annotations

import json
import secrets
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from falcon import testing

from sojourn.control_plane.api.models.packets import AddressReply, UploadReply
from sojourn.control_plane.api.models.runs import RunReply
from sojourn.control_plane.engine import outcomes, waiting
from sojourn.control_plane.engine.packets import MAX_UPLOAD_BYTES, Text
from sojourn.control_plane.store.objects import ObjectsUnavailable
from sojourn.control_plane.store.packets import Packets as StoredPackets
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.client import Client
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.protocol import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES
from sojourn.sdk.run import Runs
from tests.contract.api.conftest import Tenant, executor
from tests.contract.api.test_pruning import pruned
from tests.contract.api.test_waits import begun, child, stands, wait
from tests.contract.api.worker_calls import ask, completed, held

LARGE = "x" * (MAX_INLINE_BYTES + 10)
DAY = timedelta(days=1)


@pytest.fixture
def away(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The object store does not answer, until this is undone."""

    def refuse(*_: Any) -> Any:
        raise ObjectsUnavailable("it is away")

    for name in ("put", "open"):
        monkeypatch.setattr(platform.objects, name, refuse)
    return monkeypatch


def names(platform: Platform, prefix: str = "packets/") -> list[str]:
    return sorted(each.name for each in platform.objects.list(prefix))


def retrieve(tenant: Tenant, run: str) -> dict[str, Any]:
    wire = tenant.client.simulate_get(f"/api/v3/runs/{run}").json
    RunReply.model_validate(wire)
    return dict(wire)


def fetch(anonymous: testing.TestClient, url: str) -> testing.Result:
    assert url.startswith("http")
    return anonymous.simulate_get("/api/v1/objects/" + url.rpartition("/")[2])


def finish(worker: testing.TestClient, work: dict[str, Any], output: Any) -> None:
    done = completed(work, {"ok": True, "output": json.dumps(output), "outputType": "application/json"})
    assert ask(worker, wait=None, served=1, completion=done)["completion"] == {"result": "RUN_FINISHED"}


# --- payloads


def test_a_payload_of_half_a_megabyte_lies_beside_its_run(platform: Platform, tenant: Tenant) -> None:
    run = tenant.trigger("inline", "x" * (MAX_INLINE_BYTES - 2))
    wire = retrieve(tenant, run)
    assert len(wire["payload"]) == MAX_INLINE_BYTES - 2 and "payloadPresignedUrl" not in wire
    assert not [name for name in names(platform) if run in name]


def test_a_larger_one_is_read_by_an_address_that_needs_no_key(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient
) -> None:
    wire = retrieve(tenant, tenant.trigger("large", LARGE))
    assert "payload" not in wire
    answer = fetch(anonymous, wire["payloadPresignedUrl"])
    assert (answer.status_code, answer.json) == (200, LARGE)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_text_stays_a_text(platform: Platform, tenant: Tenant, anonymous: testing.TestClient) -> None:
    wire = retrieve(tenant, tenant.trigger("text", "é" + LARGE, payloadType="text/plain"))
    answer = fetch(anonymous, wire["payloadPresignedUrl"])
    assert answer.text == "é" + LARGE and answer.headers["content-type"].startswith("text/plain")


def test_an_executor_is_given_the_payload_whole(tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger(payload={"text": LARGE})
    work = ask(worker, wait=0, served=0)["work"]
    assert (work["run"]["id"], work["run"]["payloadType"]) == (run, "application/json")
    assert json.loads(work["run"]["payload"]) == {"text": LARGE}
    finish(worker, work, 1)


def test_a_replay_has_the_same_payload(tenant: Tenant, anonymous: testing.TestClient) -> None:
    run = tenant.trigger("large", LARGE)
    again = tenant.client.simulate_post(f"/api/v1/runs/{run}/replay").json["id"]
    assert fetch(anonymous, retrieve(tenant, again)["payloadPresignedUrl"]).json == LARGE


def test_items_of_batches_may_be_large(tenant: Tenant, anonymous: testing.TestClient) -> None:
    body = {"items": [{"task": "large", "payload": LARGE}, {"task": "large", "payload": 1}]}
    batch = tenant.client.simulate_post("/api/v2/tasks/batch", json=body).json["id"]
    large, small = tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["runs"]
    assert fetch(anonymous, retrieve(tenant, large)["payloadPresignedUrl"]).json == LARGE
    assert retrieve(tenant, small)["payload"] == 1


def test_a_payload_beyond_three_megabytes_is_refused(tenant: Tenant) -> None:
    body = json.dumps({"payload": "x" * MAX_PAYLOAD_BYTES})
    answer = tenant.client.simulate_post("/api/v1/tasks/large/trigger", body=body)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (413, "BODY_TOO_LARGE", "payload")


# --- outputs


def test_a_large_output_is_told_whole_to_who_waits_and_by_address_to_who_looks(
    tenant: Tenant, worker: testing.TestClient, anonymous: testing.TestClient
) -> None:
    run = tenant.trigger()
    finish(worker, ask(worker, wait=0, served=0)["work"], {"big": LARGE})
    result = tenant.client.simulate_get(f"/api/v1/runs/{run}/result").json
    assert json.loads(result["output"]) == {"big": LARGE} and result["outputType"] == "application/json"
    wire = retrieve(tenant, run)
    assert "output" not in wire and fetch(anonymous, wire["outputPresignedUrl"]).json == {"big": LARGE}


def test_an_executor_names_no_object(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    """Its user's code says what the output is; it must not be taken for the name of what another tenant has."""
    other = platform.runs.find(tenant.environment, tenant.trigger("large", LARGE))
    assert other and other.payload
    run = tenant.trigger()
    work = ask(worker, wait=0, served=0)["work"]
    outcome = {"ok": True, "output": json.dumps(other.payload), "outputType": "application/store"}
    ask(worker, wait=None, served=1, completion=completed(work, outcome))
    assert retrieve(tenant, run)["output"] == other.payload
    result = tenant.client.simulate_get(f"/api/v1/runs/{run}/result").json
    assert (json.loads(result["output"]), result["outputType"]) == (other.payload, "application/json")


def test_an_output_of_ten_megabytes(tenant: Tenant, worker: testing.TestClient) -> None:
    run, text = tenant.trigger(), "y" * (10 * 1024 * 1024 - 2)
    finish(worker, ask(worker, wait=0, served=0)["work"], text)
    assert json.loads(tenant.client.simulate_get(f"/api/v1/runs/{run}/result").json["output"]) == text


def test_a_parent_is_given_a_large_output(
    platform: Platform, tenant: Tenant, version: str, worker: testing.TestClient
) -> None:
    work = begun(tenant, worker)
    run = tenant.trigger("child", parentRunId=work["run"]["id"])
    assert wait(worker, work, child(run))["state"] == "blocked"
    other = executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")
    finish(other, ask(other, wait=0, served=0)["work"], LARGE)
    assert platform.placing.readmit(platform.clock()) == 1
    snapshot = stands(platform, work)[1]
    beat = worker.simulate_post("/worker/v1/heartbeat", json={**held({**work, "snapshot": snapshot}), "pending": ["1:1"]})
    assert json.loads(beat.json["done"]["1:1"]["output"]) == LARGE
    finish(worker, {**work, "snapshot": snapshot}, 1)


def test_results_of_a_batch_have_large_outputs(tenant: Tenant, worker: testing.TestClient) -> None:
    batch = tenant.client.simulate_post("/api/v2/tasks/batch", json={"items": [{"task": "hello"}]}).json["id"]
    finish(worker, ask(worker, wait=0, served=0)["work"], LARGE)
    items = tenant.client.simulate_get(f"/api/v1/batches/{batch}/results").json["items"]
    assert json.loads(items[0]["output"]) == LARGE


# --- the SDK


def test_the_sdk_fetches_what_lies_elsewhere(tenant: Tenant, worker: testing.TestClient) -> None:
    def transport(request: Request) -> Response:
        assert "Authorization" in request.headers or request.path.startswith("/api/v1/objects/")
        headers = dict(request.headers) | {"Content-Type": "application/json"}
        client = testing.TestClient(tenant.client.app)
        answer = client.simulate_request(request.method, request.path, body=request.body, headers=headers)
        return Response(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.content)

    run = tenant.trigger(payload=LARGE)
    finish(worker, ask(worker, wait=0, served=0)["work"], [LARGE])
    url = retrieve(tenant, run)["payloadPresignedUrl"].partition("/api/")[0]
    shown = Runs(Client(url, tenant.key, transport=transport)).retrieve(run)
    assert (shown.payload, shown.output) == (LARGE, [LARGE])


# --- uploads by clients


def begin(tenant: Tenant, path: str) -> dict[str, Any]:
    answer = tenant.client.simulate_put(f"/api/v2/packets/{quote(path, safe='')}")
    assert answer.status_code == 200, answer.text
    UploadReply.model_validate(answer.json)
    return dict(answer.json)


def upload(anonymous: testing.TestClient, url: str, body: bytes) -> testing.Result:
    return anonymous.simulate_put("/api/v1/objects/" + url.rpartition("/")[2], body=body)


def stored_trigger(tenant: Tenant, payload: Any) -> testing.Result:
    body = {"payload": payload, "options": {"payloadType": "application/store"}}
    return tenant.client.simulate_post("/api/v1/tasks/uploaded/trigger", json=body)


@pytest.mark.parametrize("name", ["payload.json", "trigger/hello/1.json", "a"])
def test_what_a_client_has_uploaded_is_a_payload(tenant: Tenant, anonymous: testing.TestClient, name: str) -> None:
    begun = begin(tenant, name)
    assert begun["storagePath"] == name
    assert upload(anonymous, begun["presignedUrl"], b'{"a": [1]}').status_code == 200
    address = tenant.client.simulate_get(f"/api/v1/packets/{quote(name, safe='')}").json
    AddressReply.model_validate(address)
    assert fetch(anonymous, address["presignedUrl"]).json == {"a": [1]}
    made = stored_trigger(tenant, begun["storagePath"])
    assert made.status_code == 200, made.text
    assert retrieve(tenant, made.json["id"])["payload"] == {"a": [1]}


def test_an_envelope_is_taken_off_an_upload(tenant: Tenant, anonymous: testing.TestClient) -> None:
    grant = begin(tenant, "super.json")["presignedUrl"].rpartition("/")[2]
    body, headers = b'{"json": {"a": 1}, "meta": {}}', {"Content-Type": "application/super+json"}
    assert anonymous.simulate_put(f"/api/v1/objects/{grant}", body=body, headers=headers).status_code == 200
    assert retrieve(tenant, stored_trigger(tenant, "super.json").json["id"])["payload"] == {"a": 1}
    refused = anonymous.simulate_put(f"/api/v1/objects/{grant}", body=b"[1]", headers=headers)
    assert (refused.status_code, refused.json["code"]) == (400, "BODY_INVALID")


def test_an_upload_in_an_envelope_grows_not(tenant: Tenant, anonymous: testing.TestClient) -> None:
    """As ASCII a letter of two bytes has six."""
    text = "é" * 1_000_000
    grant = begin(tenant, "letters.json")["presignedUrl"].rpartition("/")[2]
    body = json.dumps({"json": [text, "\ud800"]}, ensure_ascii=False).replace("\ud800", "\\ud800").encode()
    headers = {"Content-Type": "application/super+json"}
    answer = anonymous.simulate_put(f"/api/v1/objects/{grant}", body=body, headers=headers)
    assert answer.status_code == 200 and answer.json["bytes"] < 2_001_000
    made = stored_trigger(tenant, "letters.json")
    assert made.status_code == 200, made.text
    assert fetch(anonymous, retrieve(tenant, made.json["id"])["payloadPresignedUrl"]).json == [text, "\ud800"]


def test_an_upload_may_be_large_and_text(tenant: Tenant, anonymous: testing.TestClient) -> None:
    upload(anonymous, begin(tenant, "big.txt")["presignedUrl"], LARGE.encode())
    run = stored_trigger(tenant, "big.txt").json["id"]
    assert fetch(anonymous, retrieve(tenant, run)["payloadPresignedUrl"]).text == LARGE


def test_a_run_keeps_its_payload_when_the_upload_changes(tenant: Tenant, anonymous: testing.TestClient) -> None:
    url = begin(tenant, "mine.json")["presignedUrl"]
    upload(anonymous, url, b"1")
    run = stored_trigger(tenant, "mine.json").json["id"]
    upload(anonymous, url, b"2")
    assert retrieve(tenant, run)["payload"] == 1


def test_another_environment_has_other_uploads(
    platform: Platform, tenant: Tenant, stranger: Tenant, sibling: Tenant, anonymous: testing.TestClient
) -> None:
    upload(anonymous, begin(tenant, "secret.json")["presignedUrl"], b'"secret"')
    paths = ("secret.json", f"uploads/{tenant.environment}/secret.json", f"../{tenant.environment}/secret.json")
    for other in (stranger, sibling):
        for path in paths:
            answer = stored_trigger(other, path)
            assert answer.status_code in (400, 404) and "secret" not in answer.json["error"].replace("secret.json", "")
        address = other.client.simulate_get("/api/v1/packets/secret.json").json["presignedUrl"]
        assert fetch(anonymous, address).status_code == 404


@pytest.mark.parametrize(
    "name", ["..", "a/../b", "/etc/passwd", ".hidden", "a//b", "a b", "é", "a\x00", "a" * 900, "a/" * 11]
)
def test_paths_that_leave_their_place_are_refused(tenant: Tenant, name: str) -> None:
    for answer in (
        tenant.client.simulate_put(f"/api/v2/packets/{quote(name, safe='')}"),
        tenant.client.simulate_get(f"/api/v1/packets/{quote(name, safe='')}"),
    ):
        assert (answer.status_code, answer.json["code"]) == (400, "PARAMS_INVALID")
    assert stored_trigger(tenant, name).json["code"] == "BODY_INVALID"


@pytest.mark.parametrize("streamed", [False, True])
def test_items_that_name_one_upload_read_it_and_keep_it_once(
    platform: Platform,
    tenant: Tenant,
    anonymous: testing.TestClient,
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
) -> None:
    """500 lines are a few kilobytes: what they name is not held for each."""
    upload(anonymous, begin(tenant, "shared.json")["presignedUrl"], json.dumps("é" * 100_000, ensure_ascii=False).encode())
    upload(anonymous, begin(tenant, "small.json")["presignedUrl"], b'{"a": 1}')
    opened, open_ = [], platform.objects.open
    monkeypatch.setattr(platform.objects, "open", lambda name: opened.append(name) or open_(name))
    before = set(names(platform))
    options = {"payloadType": "application/store"}
    paths = ["shared.json"] * 498 + ["small.json"] * 2
    items = [{"task": "uploaded", "payload": path, "options": options} for path in paths]
    if streamed:
        batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": len(items)}).json["id"]
        lines = "\n".join(json.dumps({"index": n, **item}) for n, item in enumerate(items))
        answer = tenant.client.simulate_post(
            f"/api/v3/batches/{batch}/items", body=lines, headers={"Content-Type": "application/x-ndjson"}
        )
        assert answer.json["itemsAccepted"] == 500, answer.text
    else:
        batch = tenant.client.simulate_post("/api/v2/tasks/batch", json={"items": items}).json["id"]
    assert len(opened) == 2 and len(set(names(platform)) - before) == 1
    runs = tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["runs"]
    assert len(set(runs)) == 500
    for run in (runs[0], runs[497]):
        assert fetch(anonymous, retrieve(tenant, run)["payloadPresignedUrl"]).json == "é" * 100_000
    assert retrieve(tenant, runs[499])["payload"] == {"a": 1}


def test_items_that_are_sent_again_are_not_stored_again(platform: Platform, tenant: Tenant) -> None:
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 2}).json["id"]
    path, headers = f"/api/v3/batches/{batch}/items", {"Content-Type": "application/x-ndjson"}
    line = json.dumps({"index": 0, "task": "large", "payload": LARGE})
    assert tenant.client.simulate_post(path, body=line, headers=headers).json["itemsAccepted"] == 1
    before = names(platform)
    assert tenant.client.simulate_post(path, body=line, headers=headers).json["itemsDeduplicated"] == 1
    assert names(platform) == before


def test_a_row_that_names_another_environment_s_object_is_no_way_to_it(
    platform: Platform, tenant: Tenant, sibling: Tenant
) -> None:
    other = platform.runs.find(sibling.environment, sibling.trigger("large", LARGE))
    assert other and other.payload
    run = tenant.trigger("large", LARGE)
    platform.database.rows("UPDATE runs SET payload = %s WHERE id = %s", other.payload, run)
    wire = retrieve(tenant, run)
    assert "payloadPresignedUrl" not in wire and "payload" not in wire


@pytest.mark.parametrize("payload", [None, "", 7, {"path": "a"}])
def test_a_stored_payload_is_named_by_its_path(tenant: Tenant, payload: Any) -> None:
    answer = stored_trigger(tenant, payload)
    assert (answer.status_code, answer.json["field"]) == (400, "payload")


def test_an_upload_that_is_no_json_or_not_there_is_refused(tenant: Tenant, anonymous: testing.TestClient) -> None:
    upload(anonymous, begin(tenant, "broken.json")["presignedUrl"], b"{")
    upload(anonymous, begin(tenant, "latin.txt")["presignedUrl"], b"\xe9")
    assert stored_trigger(tenant, "broken.json").json["code"] == "INVALID_JSON"
    assert stored_trigger(tenant, "latin.txt").json["code"] == "BODY_INVALID"
    missing = stored_trigger(tenant, "none.json")
    assert (missing.status_code, missing.json["code"]) == (404, "PACKET_NOT_FOUND")


def test_an_upload_beyond_the_limit_is_not_kept(tenant: Tenant, anonymous: testing.TestClient) -> None:
    answer = upload(anonymous, begin(tenant, "huge.json")["presignedUrl"], b"1" * (MAX_UPLOAD_BYTES + 1))
    assert (answer.status_code, answer.json["code"]) == (413, "BODY_TOO_LARGE")
    assert stored_trigger(tenant, "huge.json").status_code == 404


# --- addresses


def test_an_address_is_good_for_one_object_one_method_and_an_hour(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = retrieve(tenant, tenant.trigger("large", LARGE))["payloadPresignedUrl"]
    grant = url.rpartition("/")[2]
    refused = anonymous.simulate_put(f"/api/v1/objects/{grant}", body=b"1")
    assert (refused.status_code, refused.json["code"]) == (403, "GRANT_REFUSED")
    body, _, signature = grant.partition(".")
    for forged in (
        f"{body}.{'0' * 64}",
        f"{body}x.{signature}",
        f"{body}.",
        "x",
        f"{body}.{signature}0",
        "é.x",
        "a" * 5_000,
    ):
        answer = anonymous.simulate_get(f"/api/v1/objects/{quote(forged)}")
        assert (answer.status_code, answer.json["code"]) == (403, "GRANT_REFUSED")
    now = platform.clock()
    assert platform.grants.read("GET", grant, now + timedelta(minutes=59))
    with pytest.raises(Exception, match="not valid"):
        platform.grants.read("GET", grant, now + timedelta(minutes=61))


def test_no_log_holds_an_address(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    grant = retrieve(tenant, tenant.trigger("large", LARGE))["payloadPresignedUrl"].rpartition("/")[2]

    def fail(*_: Any) -> Any:
        raise RuntimeError("nobody has thought of this")

    monkeypatch.setattr(platform.objects, "open", fail)
    assert anonymous.simulate_get(f"/api/v1/objects/{grant}").status_code == 500
    assert "/api/v1/objects/…" in caplog.text and grant.partition(".")[2] not in caplog.text


# --- the store is away


def test_while_the_store_is_away_small_payloads_are_taken_and_large_ones_sent_again(
    platform: Platform, tenant: Tenant, away: pytest.MonkeyPatch
) -> None:
    assert tenant.trigger("small", 1)
    body = json.dumps({"payload": LARGE})
    answer = tenant.client.simulate_post("/api/v1/tasks/large/trigger", body=body)
    assert (answer.status_code, answer.json["code"]) == (503, "PACKETS_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"
    away.undo()
    assert tenant.client.simulate_post("/api/v1/tasks/large/trigger", body=body).status_code == 200


def test_an_output_that_the_store_does_not_take_is_not_lost(
    tenant: Tenant, worker: testing.TestClient, away: pytest.MonkeyPatch
) -> None:
    run = tenant.trigger()
    finish(worker, ask(worker, wait=0, served=0)["work"], LARGE)
    assert json.loads(tenant.client.simulate_get(f"/api/v1/runs/{run}/result").json["output"]) == LARGE
    assert retrieve(tenant, run)["output"] == LARGE


def test_a_run_whose_payload_cannot_be_read_waits_for_as_long_as_that_lasts_and_is_charged_nothing(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "_PAUSE", timedelta(0))
    run = tenant.trigger(payload=LARGE, maxAttempts=1)

    def refuse(*_: Any) -> Any:
        raise ObjectsUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(platform.objects, "open", refuse)
        for _ in range(14):  # longer than any number of placements, and than any lease
            assert ask(worker, wait=0, served=1).get("work") is None
            assert retrieve(tenant, run)["status"] == "QUEUED"
            platform.expiring.queue_due(platform.clock(), 100)
    work = ask(worker, wait=0, served=1)["work"]
    assert work["run"]["id"] == run and json.loads(work["run"]["payload"]) == LARGE
    assert work["run"]["maxAttempts"] >= work["attempt"]["number"]
    finish(worker, work, 1)
    assert retrieve(tenant, run)["status"] == "COMPLETED"


def test_a_small_run_is_given_where_a_large_one_cannot_be(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, away: pytest.MonkeyPatch
) -> None:
    away.undo()
    tenant.trigger(payload=LARGE)
    small = tenant.trigger(payload=1)

    def refuse(*_: Any) -> Any:
        raise ObjectsUnavailable("it is away")

    with away.context() as patch:
        patch.setattr(platform.objects, "open", refuse)
        work = ask(worker, wait=0, served=1)["work"]
    assert work["run"]["id"] == small
    finish(worker, work, 1)


def test_large_results_are_told_one_after_the_other(
    platform: Platform, tenant: Tenant, version: str, worker: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = begun(tenant, worker)
    runs = {f"1:{n}": tenant.trigger("child", parentRunId=work["run"]["id"]) for n in range(3)}
    assert wait(worker, work, *(child(run, key) for key, run in runs.items()), block=None)["state"] == "ready"
    other = executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")
    for _ in runs:
        finish(other, ask(other, wait=0, served=0)["work"], LARGE)
    monkeypatch.setattr(waiting, "_AN_ANSWER", len(LARGE))
    told: list[str] = []
    while len(told) < 3:
        pending = [key for key in runs if key not in told]
        beat = worker.simulate_post("/worker/v1/heartbeat", json={**held(work), "pending": pending, "wait": 0})
        assert len(beat.json["done"]) == 1
        told += beat.json["done"]
    finish(worker, work, 1)


def test_a_store_that_hangs_holds_no_heartbeat_up(
    platform: Platform,
    tenant: Tenant,
    version: str,
    worker: testing.TestClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = begun(tenant, worker)
    run = tenant.trigger("child", parentRunId=work["run"]["id"])
    assert wait(worker, work, child(run), block=None)["state"] == "ready"
    other = executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}")
    finish(other, ask(other, wait=0, served=0)["work"], LARGE)
    go_on, opened = threading.Event(), platform.objects.open

    def hang(name: str) -> Any:
        assert go_on.wait(60)
        return opened(name)

    outputs = platform.waiting._outputs
    monkeypatch.setattr(outputs, "_patience", 0.1)
    monkeypatch.setattr(platform.objects, "open", hang)
    for _ in range(3):
        beat = worker.simulate_post("/worker/v1/heartbeat", json={**held(work), "pending": ["1:1"], "wait": 0})
        assert beat.status_code == 200 and beat.json["state"] == "continue" and "done" not in beat.json
    assert len(outputs._reads) == 1, "what is being read is not read again"
    go_on.set()
    monkeypatch.setattr(outputs, "_patience", 60)
    beat = worker.simulate_post("/worker/v1/heartbeat", json={**held(work), "pending": ["1:1"], "wait": 0})
    assert json.loads(beat.json["done"]["1:1"]["output"]) == LARGE
    assert not outputs._reads
    finish(worker, work, 1)


def test_a_run_whose_payload_is_gone_fails_clearly(platform: Platform, tenant: Tenant, worker: testing.TestClient) -> None:
    run = tenant.trigger(payload=LARGE)
    stored = platform.runs.find(tenant.environment, run)
    assert stored and stored.payload
    platform.objects.delete(stored.payload)
    assert "work" not in ask(worker, wait=0, served=0)
    wire = retrieve(tenant, run)
    assert wire["status"] == "FAILED" and "TASK_INPUT_ERROR" in wire["error"]["message"]


# --- what is removed


def test_objects_go_with_their_runs_unless_another_run_has_them(
    platform: Platform, tenant: Tenant, worker: testing.TestClient
) -> None:
    run = tenant.trigger(payload=LARGE)
    again = tenant.client.simulate_post(f"/api/v1/runs/{run}/replay").json["id"]
    for _ in range(2):
        finish(worker, ask(worker, wait=0, served=0)["work"], LARGE)
    first, second = (platform.runs.find(tenant.environment, each) for each in (run, again))
    assert first and second and first.payload == second.payload and first.output != second.output
    platform.database.rows("UPDATE runs SET finished_at = finished_at - interval '40 days' WHERE id = %s", run)
    pruned(platform, platform.clock())
    platform.shredding.remove_packets(100)
    there = names(platform)
    assert first.payload in there and first.output not in there and second.output in there
    platform.database.rows("UPDATE runs SET finished_at = finished_at - interval '40 days' WHERE id = %s", again)
    pruned(platform, platform.clock())
    assert platform.shredding.remove_packets(100) == 2
    assert not {first.payload, second.output} & set(names(platform))
    assert platform.shredding.remove_packets(100) == 0


def test_what_no_run_has_is_swept_and_what_one_has_stays(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient
) -> None:
    tenant.trigger("large", LARGE)
    before = set(names(platform))
    orphans = {platform.packets.kept(tenant.environment, Text(LARGE, "text/plain"), platform.clock()).text}
    assert orphans == set(names(platform)) - before
    upload(anonymous, begin(tenant, "old.json")["presignedUrl"], b"1")
    platform.objects.put("packets/env_of_another_installation/packet_1.json", [b"1"])
    now = platform.clock()
    platform.shredding.sweep(now)
    assert orphans <= set(names(platform)), "what is an hour old at most may be of a trigger that is under way"
    assert platform.shredding.sweep(now + timedelta(hours=2), limit=0) == 0
    assert orphans <= set(names(platform)), "a sweep is bounded"
    platform.shredding.sweep(now + timedelta(hours=2))
    there = set(names(platform))
    assert not orphans & there and "packets/env_of_another_installation/packet_1.json" in there
    assert names(platform, "uploads/")
    platform.shredding.sweep(now + DAY + timedelta(minutes=1))
    assert not names(platform, "uploads/")
    for name in before & there:
        platform.objects.open(name).chunks.close()  # type: ignore[attr-defined]
    platform.objects.delete("packets/env_of_another_installation/packet_1.json")


def test_triggers_that_are_answered_with_a_run_that_is_there_write_nothing(
    platform: Platform, tenant: Tenant, version: str
) -> None:
    idempotent = {"idempotencyKey": secrets.token_hex(6)}
    debounced = {"debounce": {"key": secrets.token_hex(6), "delay": "1h", "mode": "leading"}}
    header = {"x-trigger-request-idempotency-key": secrets.token_hex(6)}

    def request() -> str:
        body = {"payload": LARGE}
        return str(tenant.client.simulate_post("/api/v1/tasks/large/trigger", json=body, headers=header).json["id"])

    runs = tenant.trigger("large", LARGE, **idempotent), tenant.trigger("large", LARGE, **debounced), request()
    before = names(platform)
    for _ in range(2):
        again = tenant.trigger("large", LARGE, **idempotent), tenant.trigger("large", LARGE, **debounced), request()
        assert again == runs
    # The second of the debounced ones may put the run off by a part of a second: what it wrote is removed at once.
    platform.shredding.remove_packets(1000)
    assert names(platform) == before


def test_the_payload_that_a_later_trigger_replaced_is_removed(platform: Platform, tenant: Tenant, version: str) -> None:
    options: dict[str, Any] = {"debounce": {"key": secrets.token_hex(6), "delay": "60s", "mode": "trailing"}}
    run = tenant.trigger(payload=LARGE, **options)
    first = platform.runs.find(tenant.environment, run)
    assert tenant.trigger(payload=LARGE + "2", **options) == run
    second = platform.runs.find(tenant.environment, run)
    assert first and second and first.payload != second.payload
    platform.shredding.remove_packets(100)
    there = names(platform)
    assert second.payload in there and first.payload not in there


def test_what_is_stored_is_known_of(platform: Platform, tenant: Tenant) -> None:
    tenant.trigger("large", LARGE)
    assert StoredPackets(platform.database).are_stored() is True


def test_files_of_packets_are_nobody_else_s(platform: Platform, tenant: Tenant) -> None:
    tenant.trigger("large", LARGE)
    for name in names(platform):
        path = Path(platform.config.data_dir, "objects", name)
        assert path.stat().st_mode & 0o777 == 0o600
