"""`sojourn trigger`, `runs …`, `batches trigger` and `keys token` over the real application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sojourn.cli import batch_files, run_pages
from sojourn.cli.main import main
from sojourn.control_plane.store import run_lists, run_streams
from sojourn.control_plane.wiring import Platform
from sojourn.sdk import batch_calls
from sojourn.sdk.client import Client
from tests.contract.api.conftest import Tenant, executor
from tests.contract.api.test_acting_sdk import Invoke, Straight, client, invoke, straight
from tests.contract.api.test_worker import ask, completed

__all__ = ["client", "invoke", "straight"]


def end(platform: Platform, run: str, output: Any) -> None:
    platform.database.rows(
        "UPDATE runs SET status = 'COMPLETED', snapshot_status = 'FINISHED', finished_at = now(), output = %s,"
        " output_type = 'application/json' WHERE id = %s",
        json.dumps(output),
        run,
    )


def test_the_options_of_a_trigger(invoke: Invoke, client: Client, tenant: Tenant, platform: Platform) -> None:
    version = tenant.deploy(["hello"], "pinned")
    tenant.deploy(["hello"], "newer")
    words = ["--version", version["version"], "--max-duration", "60", "--test", "--metadata", '{"customer": 7}']
    key = ["--idempotency-key", "order-17", "--idempotency-key-ttl", "1h30m"]
    run = invoke("trigger", "hello", *words, *key).strip()
    assert invoke("trigger", "hello", *key).strip() == run
    found, stored = client.retrieve(run), platform.runs.any(run)
    assert (found["isTest"], found["metadata"]) == (True, {"customer": 7})
    assert stored and (stored.locked_version_id, stored.max_duration) == (version["id"], 60)
    for wrong, said in (
        (["--metadata", "[1]"], "--metadata is no JSON object"),
        (["--metadata", "{"], "--metadata is not JSON"),
        (["--idempotency-key-ttl", "1h"], "with --idempotency-key KEY only"),
        ([*key[:2], "--idempotency-key-ttl", "soon"], "no duration"),
        (["--payload", "hello"], "the payload is not JSON"),
    ):
        assert said in invoke("trigger", "hello", *wrong, code=2)
    assert "--version: a version is written like" in invoke("trigger", "hello", "--version", "newest", code=3)


def test_a_filter_that_is_given_again_is_taken_whole(invoke: Invoke, client: Client) -> None:
    ids = [client.trigger("tagged", options={"tags": [tag]})["id"] for tag in ("a, b", "a", " b")]

    def found(*tags: str) -> list[str]:
        words = [word for tag in tags for word in ("--tag", tag)]
        return [run["id"] for run in json.loads(invoke("runs", "list", "--json", "--task", "tagged", *words))["data"]]

    assert found("a, b") == sorted(ids[1:], reverse=True)
    assert found("a, b", "a, b") == [ids[0]]
    assert found("a, b", "a") == sorted(ids[:2], reverse=True)
    assert "no value" in invoke("runs", "list", "--tag", " ", code=2)
    token = client.create_token({"tags": ["x,y"]})["id"]
    assert token in invoke("tokens", "list", "--json", "--tag", "x,y", "--tag", "x,y")
    assert token not in invoke("tokens", "list", "--json", "--tag", "x,y")


def test_a_list_is_filled_where_runs_that_fit_are_rare(
    invoke: Invoke, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API answers with short pages there, which lead on."""
    rare = {
        client.trigger("hello", options={"tags": ["rare"], "machine": "micro" if number % 3 else "small-2x"})["id"]
        for number in range(9)
        if number % 3 or client.trigger("hello", options={"tags": ["other"], "machine": "small-2x"})
    }
    found = {run["id"] for run in client.list_runs({"filter[tag]": "rare", "filter[machine]": "micro"})["data"]}
    assert len(found) == 6 and found < rare
    monkeypatch.setattr(run_streams, "_FIRST", 1)
    monkeypatch.setattr(run_streams, "_LEAST", 1)
    monkeypatch.setattr(run_lists, "PATIENCE", 1)
    assert len(client.list_runs({"filter[tag]": "rare", "filter[machine]": "micro"})["data"]) < 6
    words = ["--tag", "rare", "--machine", "micro", "--json"]
    listed = json.loads(invoke("runs", "list", *words))
    assert {run["id"] for run in listed["data"]} == found and "next" not in listed["pagination"]
    first = json.loads(invoke("runs", "list", *words, "--limit", "4"))
    rest = json.loads(invoke("runs", "list", *words, "--after", first["pagination"]["next"]))
    assert len(first["data"]) == 4 and {run["id"] for run in (*first["data"], *rest["data"])} == found
    monkeypatch.setattr(run_pages, "MOST", 2)
    asked, listed = 0, {"data": [], "pagination": {"next": None}}
    while "next" in listed["pagination"]:
        after = listed["pagination"]["next"]
        listed = json.loads(invoke("runs", "list", *words, *(["--after", after] if after else [])))
        found -= {run["id"] for run in listed["data"]}
        asked += 1
    assert asked > 2 and not found, "a list that is not read on goes on from where it came to"
    assert "more: --after" in invoke("runs", "list", *words[:-1])


def test_what_happened_in_a_run(invoke: Invoke, client: Client) -> None:
    run = client.trigger("hello")["id"]
    (event,) = json.loads(invoke("runs", "events", run, "--json"))["events"]
    assert event["runId"] == run
    assert run in invoke("runs", "events", run) and "goes on" in invoke("runs", "events", run)
    child = client.trigger("hello", options={"parentRunId": run})["id"]
    client.cancel(child)
    above, below = invoke("runs", "trace", run).splitlines()
    assert f"hello {run} (goes on)" in above and not above.startswith(" ")
    assert f"hello {child} (" in below and below.endswith("cancelled)") and below.startswith("  ")
    assert json.loads(invoke("runs", "trace", run, "--json"))["trace"]["rootSpan"]["runId"] == run
    assert "no such run" in invoke("runs", "trace", "run_x", code=4)


TRACEBACK = "Traceback (most recent call last):\n  File \"jobs.py\", line 7, in hello\nKeyError: 'amount'"


@pytest.fixture
def failed(tenant: Tenant, platform: Platform) -> str:
    """A run that wrote a line, and ended with an error."""
    version = tenant.deploy(["fails"])
    run = tenant.trigger("fails")
    worker = executor(platform, tenant, version["id"], "executor_of_failures")
    work = ask(worker, wait=0, served=1)["work"]
    assert work["run"]["id"] == run
    error = {"type": "BUILT_IN_ERROR", "name": "KeyError", "message": "'amount'", "stackTrace": TRACEBACK}
    line = {"n": 1, "at": "2026-01-31T12:00:00.000Z", "stream": "log", "level": "INFO", "message": "counting"}
    done = completed(work, {"ok": False, "error": error, "skippedRetrying": True}, logs=[line])
    ask(worker, wait=None, served=1, completion=done)
    tenant.deploy(["hello"], "after it failed")
    return run


def test_a_failed_run_s_log_and_trace_end_with_its_traceback(invoke: Invoke, client: Client, failed: str) -> None:
    shown = ["error: KeyError: 'amount'", *(f"  {line}" for line in TRACEBACK.splitlines())]
    assert "\n".join(shown) in invoke("runs", "get", failed)
    for words in (["logs", failed], ["logs", failed, "--follow"]):
        first, *rest = invoke("runs", *words).splitlines()
        assert "counting" in first and rest == shown
    assert invoke("runs", "trace", failed).splitlines()[-len(shown) :] == shown
    told = client.retrieve(failed)
    assert told["error"] == {"name": "KeyError", "message": "'amount'", "stackTrace": TRACEBACK}
    *lines, last = map(json.loads, invoke("runs", "logs", failed, "--json").splitlines())
    assert [line["message"] for line in lines] == ["counting"] and not any("error" in line for line in lines)
    assert last == {
        "at": told["finishedAt"], "level": "ERROR", "message": "KeyError: 'amount'", "error": told["error"],
    }  # fmt: skip
    assert json.loads(invoke("runs", "trace", failed, "--json"))["error"] == told["error"]


def test_a_run_without_an_error_shows_none(invoke: Invoke, client: Client, platform: Platform) -> None:
    run = client.trigger("hello")["id"]
    for _ in range(2):
        assert invoke("runs", "logs", run) == invoke("runs", "logs", run, "--json") == ""
        assert "error" not in json.loads(invoke("runs", "trace", run, "--json"))
        assert "error" not in invoke("runs", "trace", run)
        end(platform, run, 1)


def test_the_result_of_a_run(invoke: Invoke, client: Client, platform: Platform) -> None:
    run, cancelled = client.trigger("hello")["id"], client.trigger("hello")["id"]
    assert "is not over" in invoke("runs", "result", run, code=1)
    end(platform, run, {"total": "3 €"})
    client.cancel(cancelled)
    assert json.loads(invoke("runs", "result", run)) == {"total": "3 €"}
    told = json.loads(invoke("runs", "result", run, "--wait", "--json"))
    assert (told["ok"], told["output"]) == (True, client.retrieve(run)["output"]) == (True, {"total": "3 €"})
    assert f"{cancelled} was cancelled: TASK_RUN_CANCELLED" in invoke("runs", "result", cancelled, "--wait", code=1)


def test_metadata_and_tags_of_a_run(invoke: Invoke, client: Client) -> None:
    run = client.trigger("hello", options={"metadata": {"a": 1}, "tags": ["x"]})["id"]
    assert json.loads(invoke("runs", "metadata", run)) == {"a": 1}
    changed = invoke("runs", "metadata", run, "--set", "b", '"two"', "--set", "$.c.d", "3", "--delete", "a")
    assert json.loads(changed) == {"b": "two", "c": {"d": 3}} == client.metadata(run)["metadata"]
    assert json.loads(invoke("runs", "metadata", run, "--replace", '{"d": 4}', "--set", "e", "5")) == {"d": 4, "e": 5}
    assert json.loads(invoke("runs", "metadata", run, "--replace", "{}")) == {}
    assert "--set b is not JSON" in invoke("runs", "metadata", run, "--set", "b", "two", code=2)
    assert invoke("runs", "tag", run, "y", "z") == f"{run}: x, y, z\n"
    assert client.retrieve(run)["tags"] == ["x", "y", "z"]
    assert "Missing argument" in invoke("runs", "tag", run, code=2)


def test_a_key_is_freed(invoke: Invoke, client: Client) -> None:
    words = ("trigger", "hello", "--idempotency-key", "order-18")
    run = invoke(*words)
    assert invoke(*words) == run
    assert invoke("runs", "reset-key", "hello", "order-18") == "order-18 is free\n"
    assert invoke(*words) != run
    assert "holds the idempotency key" in invoke("runs", "reset-key", "other", "order-18", code=4)


# --- batches


def lines(path: Path, *items: Any) -> str:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return str(path)


def test_a_batch_out_of_a_file(invoke: Invoke, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_calls, "_LINES", 2)
    items = [{"task": "hello", "payload": {"n": n}, "options": {"tags": [f"n{n}"]}} for n in range(5)]
    file = lines(tmp_path / "items.ndjson", *items)
    Path(file).write_text("\n" + Path(file).read_text() + "\n")  # blank lines are none
    batch = invoke("batches", "trigger", file, "--idempotency-key", "all", "--idempotency-key-ttl", "1h").strip()
    found = client.retrieve_batch(batch)
    assert (found["runCount"], len(found["runs"]), found["idempotencyKey"]) == (5, 5, "all")
    assert [client.retrieve(run)["payload"] for run in found["runs"]] == [item["payload"] for item in items]
    again = json.loads(invoke("batches", "trigger", file, "--idempotency-key", "all", "--json"))
    assert (again["id"], again["isCached"]) == (batch, True)


def test_a_batch_out_of_standard_input(invoke: Invoke, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_files, "_IN_MEMORY", 16)
    batch = invoke("batches", "trigger", "-", "--task", "hello", stdin='{"payload": 1}\n{}\n').strip()
    assert [client.retrieve(run).get("payload") for run in client.retrieve_batch(batch)["runs"]] == [1, None]


def test_a_batch_goes_on_where_it_was_cut_off(
    invoke: Invoke, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is stopped between two portions does the same again, with the same key."""
    monkeypatch.setattr(batch_calls, "_LINES", 2)
    file = lines(tmp_path / "items.ndjson", *({"task": "hello", "payload": n} for n in range(6)))
    send, sent = client.send_batch_items, []

    def stopped(batch: str, portion: bytes) -> dict[str, Any]:
        if sent:
            raise KeyboardInterrupt
        sent.append(batch)
        return send(batch, portion)

    with monkeypatch.context() as patched:
        patched.setattr(client, "send_batch_items", stopped)
        invoke("batches", "trigger", file, "--idempotency-key", "cut", code=130)
    assert len(client.retrieve_batch(sent[0])["runs"]) == 2
    assert invoke("batches", "trigger", file, "--idempotency-key", "cut").strip() == sent[0]
    assert len(client.retrieve_batch(sent[0])["runs"]) == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no line"),
        ('{"task": "a"}\n{', "line 2 is not JSON"),
        ('{"task": "a"}\n[1]', "line 2 is no item"),
        ('{"task": "a", "playload": 1}', "line 1 is no item"),
        ('{"payload": 1}', "line 1 has no task"),
        ('{"task": "a", "options": [1]}', "options is no object"),
        ('{"task": "a", "payload": NaN}', "item 0"),
    ],
)
def test_nothing_is_sent_of_a_file_with_a_flaw(
    invoke: Invoke, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setattr(client, "create_batch", lambda body: pytest.fail("it was sent"))
    file = tmp_path / "items.ndjson"
    file.write_text(text)
    assert said in invoke("batches", "trigger", str(file), code=2)


# --- public tokens


def test_a_public_token(invoke: Invoke, client: Client, straight: Straight) -> None:
    run = client.trigger("hello")["id"]
    token = invoke("keys", "token", "--scope", f"read:runs:{run}", "--expires", "1h", "--once").strip()
    answer = straight.tenant.client.simulate_get(f"/api/v3/runs/{run}", headers={"Authorization": f"Bearer {token}"})
    assert answer.json["id"] == run
    again = straight.tenant.client.simulate_get(f"/api/v3/runs/{run}", headers={"Authorization": f"Bearer {token}"})
    assert again.status_code == 401
    assert json.loads(invoke("keys", "token", "--scope", "read:runs", "--json")).keys() == {"token"}
    assert "30 days" in invoke("keys", "token", "--scope", "read:runs", "--expires", "90d", code=3)
    assert CliRunner().invoke(main, ["keys", "token"]).exit_code == 2


def test_a_token_that_is_over_says_so(invoke: Invoke) -> None:
    token = invoke("tokens", "create").splitlines()[0]
    assert invoke("tokens", "complete", token, "--data", "1") == f"{token} is COMPLETED\n"
    again = invoke("tokens", "complete", token, "--data", "2")
    assert f"{token} was COMPLETED already: what it was completed with stays" in again
    assert "output: 1" in invoke("tokens", "retrieve", token)
