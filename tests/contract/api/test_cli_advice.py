"""What the command line says of what went wrong, or does not go on: in the words of who types commands, and at once."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from sojourn.cli import profile, waiting_said
from sojourn.cli.waiting_said import WaitingSaid
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ApiConnectionError, BadRequestError, PermissionDeniedError
from sojourn.sdk.exchange import Request, Response
from tests.contract.api.conftest import Tenant, executor
from tests.contract.api.test_acting_sdk import Invoke, Straight, client, invoke, straight
from tests.contract.api.test_cli_access import invoke as invoke_by_key
from tests.contract.api.worker_calls import ask, completed, held

__all__ = ["client", "invoke", "invoke_by_key", "straight"]

ERROR = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no rate for EUR\nsecond line", "stackTrace": "T"}


# --- attempts that failed


@pytest.fixture
def invoke_alone(stranger: Tenant, platform: Platform, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Commands in an environment whose only runs are those that a test takes up."""
    alone = Client("http://api.test", stranger.key, transport=Straight(stranger, platform))
    monkeypatch.setattr(profile, "client", lambda environment, data_dir: alone)
    return invoke


def taken(stranger: Tenant, platform: Platform, task: str) -> tuple[testing.TestClient, dict[str, Any]]:
    """An executor, and the run of the task that it has taken up."""
    version = stranger.deploy([task])
    run = stranger.trigger(task)
    worker = executor(platform, stranger, version["id"], f"executor_of_{task}")
    work = ask(worker, wait=0, served=1)["work"]
    assert work["run"]["id"] == run
    return worker, work


@pytest.fixture
def tried_twice(stranger: Tenant, platform: Platform) -> str:
    """A run whose first attempt failed, and whose second one has succeeded."""
    worker, work = taken(stranger, platform, "flaky")
    wish = {"ok": False, "error": ERROR, "retry": {"delay": 100, "timestamp": 0}}
    told = ask(worker, wait=0, served=1, completion=completed(work, wish))["completion"]
    again = worker.simulate_post("/worker/v1/start", json=held(work) | {"snapshot": told["snapshot"]}).json["work"]
    ask(worker, wait=None, served=2, completion=completed(again, {"ok": True, "output": "1"}))
    return str(work["run"]["id"])


def test_why_an_attempt_failed_is_shown_of_a_run_that_succeeded(invoke_alone: Invoke, tried_twice: str) -> None:
    invoke = invoke_alone
    lines = invoke("runs", "get", tried_twice).splitlines()
    assert "COMPLETED, 2 attempts" in lines[0]
    assert "attempt 1 failed: ValueError: no rate for EUR" in lines and not any("attempt 2" in line for line in lines)
    (traced,) = (line for line in invoke("runs", "trace", tried_twice).splitlines() if "Attempt 1" in line)
    assert traced.endswith("failed): ValueError: no rate for EUR")
    (event,) = (line for line in invoke("runs", "events", tried_twice).splitlines() if "Attempt 1" in line)
    assert "Attempt 1: ValueError: no rate for EUR " in event
    assert "second line" not in invoke("runs", "trace", tried_twice)


def test_the_error_that_ended_a_run_is_shown_once(invoke_alone: Invoke, stranger: Tenant, platform: Platform) -> None:
    worker, work = taken(stranger, platform, "fails")
    ask(worker, wait=None, served=1, completion=completed(work, {"ok": False, "error": ERROR, "skippedRetrying": True}))
    shown = invoke_alone("runs", "get", work["run"]["id"])
    assert shown.count("no rate for EUR") == 1 and "attempt 1 failed" not in shown


# --- batches


def items(path: Path, *told: Any) -> str:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in told))
    return str(path)


def test_a_batch_that_is_refused_says_so(invoke: Invoke, client: Client, tmp_path: Path) -> None:
    file = items(tmp_path / "items", *({"task": "hello", "options": {"dealy": "1h"}} for _ in range(7)))
    batch, *lines = invoke("batches", "trigger", file, code=3).splitlines()
    assert client.retrieve_batch(batch)["status"] == "ABORTED"
    assert lines[0].startswith("item 0 (hello): ") and "dealy" in lines[0] and len(lines) == 6
    assert (
        f"none of 7 items could be triggered: correct them, and trigger them again; `sojourn batches get {batch}`"
        in lines[5]
    )


def test_a_batch_of_which_some_items_are_refused_says_which(invoke: Invoke, tmp_path: Path) -> None:
    file = items(tmp_path / "items", {"task": "hello"}, {"task": "hello", "options": {"dealy": "1h"}}, {"task": "hello"})
    told = invoke("batches", "trigger", file, code=3)
    assert "item 1 (hello): " in told and "1 of 3 items could not be triggered, and their runs have failed" in told
    assert json.loads(invoke("batches", "trigger", file, "--json", code=3).partition("\nitem 1")[0])["runCount"] == 3


def test_a_batch_of_tasks_that_nobody_deployed_says_which_were_meant(
    invoke: Invoke, tenant: Tenant, tmp_path: Path
) -> None:
    version = tenant.deploy(["hello", "hi"])["version"]
    tenant.deploy(["hello"])
    pinned = {"task": "hi", "options": {"lockToVersion": version}}
    told = invoke("batches", "trigger", items(tmp_path / "items", {"task": "helo"}, {"task": "hello"}, pinned))
    assert "no task helo: did you mean hello?" in told and "task hi" not in told
    many = items(tmp_path / "many", *({"task": f"unknown-{n}"} for n in range(8)))
    assert "… and 3 more tasks that the current version does not have" in invoke("batches", "trigger", many)


def test_a_key_that_may_not_read_a_batch_still_makes_it(
    invoke: Invoke, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionDeniedError("Unauthorized", status=403)

    monkeypatch.setattr(client, "retrieve_batch", refused)
    assert invoke("batches", "trigger", items(tmp_path / "items", {"task": "hello"})).startswith("batch_")


# --- waiting


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_said, "_PATIENCE", 0)
    monkeypatch.setattr(waiting_said, "_AGAIN", 0)


def cancelled_after(client: Client, looks: int) -> Callable[..., Any]:
    """A call for a result that finds none so often; then the run is cancelled."""
    left, result = [looks], client.result

    def asked(run: str, wait: float = 0) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            return None
        client.cancel(run)
        return result(run)

    return asked


def test_what_keeps_a_run_is_said_once_to_who_waits(
    invoke: Invoke, client: Client, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.trigger("hello", options={"queue": {"name": "shut"}})
    client.pause_queue("shut", "custom", paused=True)
    for mode, looks in (("--wait", 3), ("--json", 3)):
        with monkeypatch.context() as patched:
            patched.setattr(client, "result", cancelled_after(client, looks))
            told = invoke("trigger", "hello", "--queue", "shut", "--wait", *([mode] if mode == "--json" else []), code=1)
        assert told.count(" waits: the queue shut is paused (let it go on: ") == (1 if mode == "--wait" else 0)
    with monkeypatch.context() as patched:
        patched.setattr(client, "retrieve", _cancelling(client))
        told = invoke("trigger", "hello", "--queue", "shut", "--follow", code=1)
    assert told.count(" waits: the queue shut is paused (let it go on: ") == 1
    client.pause_queue("shut", "custom", paused=False)


def _cancelling(client: Client) -> Callable[[str], Any]:
    """A look at a run; from the third one on it is cancelled."""
    looks, retrieve = [0], client.retrieve

    def looked(run: str) -> Any:
        looks[0] += 1
        if looks[0] == 3:
            client.cancel(run)
        return retrieve(run)

    return looked


def test_each_reason_is_said_when_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    told: list[list[dict[str, Any]]] = []

    class Speaker:
        def why(self, run: str) -> dict[str, Any]:
            return {"reasons": told.pop(0)}

    said = WaitingSaid(Speaker(), "run_1", ["NO_VERSION"], lambda: now[0])  # type: ignore[arg-type]
    said.look()
    assert said.seconds == 3 and not capsys.readouterr().err
    full = {"reason": "LIMIT_REACHED", "scope": "queue", "message": "it is full"}
    paused = {"reason": "PAUSED", "scope": "queue", "message": "it is paused", "nextStep": "resume it"}
    known = {"reason": "NO_VERSION", "message": "no version"}
    for reasons, line in (
        ([known], ""),
        ([full], "sojourn: run_1 waits: it is full\n"),
        ([full], ""),
        ([paused, full], "sojourn: run_1 waits: it is paused; it is full (resume it)\n"),
        ([full], ""),
        ([], ""),
        ([full], "sojourn: run_1 waits: it is full\n"),
    ):
        now[0] += 10
        told.append(reasons)
        said.look()
        assert capsys.readouterr().err == line


# --- words of the wire


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--version", "1"], "--version: a version is written like 20260131.2 (correct what was typed"),
        (["--queue", "bad queue!"], "--queue: a queue's name has 1 to 128 letters"),
        (["--max-attempts", "0"], "--max-attempts: should be greater than or equal to 1"),
        (["--max-duration", "-1"], "--max-duration: should be greater than 0"),
    ],
)
def test_an_option_that_is_refused_has_its_own_name(invoke: Invoke, words: list[str], told: str) -> None:
    said = invoke("trigger", "hello", *words, code=3)
    assert said.startswith(f"sojourn: {told}")
    assert "options.q" not in said and "options.m" not in said and "pattern" not in said


def test_an_argument_that_is_refused_has_its_own_name(invoke: Invoke) -> None:
    run = invoke("trigger", "hello", "--delay", "1h").strip()
    assert invoke("runs", "reschedule", run, "soon", code=3).startswith("sojourn: DELAY: ")


def test_no_command_says_to_correct_a_field(invoke: Invoke) -> None:
    for words in (
        ("schedules", "create", "hello", "bad cron", "--key", "k"),
        ("webhooks", "create", "ftp://example.com/"),
    ):
        said = invoke(*words, code=3)
        assert "`field`" not in said and "correct what was typed" in said


def test_an_error_of_the_sdk_names_the_field_to_correct(client: Client) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.trigger("hello", options={"maxAttempts": 0})
    assert str(caught.value).endswith("(correct `options.maxAttempts`)")
    assert caught.value.next_step == "correct what `field` names" and caught.value.message in str(caught.value)


def test_a_secret_is_no_value(invoke: Invoke) -> None:
    invoke("env", "set", "PASSWORD", "abc", "--secret")
    assert "PASSWORD is a secret" in invoke("env", "get", "PASSWORD", code=3)
    assert json.loads(invoke("env", "get", "PASSWORD", "--json"))["value"] == "<redacted>"


# --- which environment, which address


def test_advice_names_the_environment_that_was_typed(invoke_by_key: Invoke, sibling: Tenant) -> None:
    key = {"SOJOURN_SECRET_KEY": sibling.key}
    assert "`sojourn deploy DIR --env prod`" in invoke_by_key("tasks", "list", "--env", "prod", code=4, **key)
    assert "`sojourn deploy DIR`" in invoke_by_key("tasks", "list", code=4, **key)
    assert "`sojourn deploy DIR --env prod`" in invoke_by_key("deployments", "list", "--env", "prod", **key)
    assert "`sojourn deploy DIR --env prod`" in invoke_by_key("trigger", "hello", "--env", "prod", **key)


def gone(*_: Any) -> Response:
    raise ApiConnectionError("no answer from http://127.0.0.1:3030: refused", next_step="is it running?")


def test_the_default_address_is_said_to_be_that(
    invoke_by_key: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "request", gone)
    key = {"SOJOURN_SECRET_KEY": "tr_dev_x"}
    told = invoke_by_key("runs", "list", code=2, SOJOURN_API_URL="", **key)
    assert "SOJOURN_API_URL is not set, and that is its default; is it running?" in told
    (tmp_path / "credentials.json").write_text('{"api_url": "http://127.0.0.1:4000"}')
    told = invoke_by_key("runs", "list", code=2, SOJOURN_API_URL="", **key)
    assert "the stack here is at http://127.0.0.1:4000" in told
    assert "SOJOURN_API_URL" not in invoke_by_key("runs", "list", code=2, **key)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stderr", "lines"), [(Terminal(), 1), (io.StringIO(), 0)])
def test_silence_is_told_of_on_a_terminal(stderr: io.StringIO, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_SECRET_KEY", "tr_dev_x")
    monkeypatch.setenv("SOJOURN_API_URL", "http://sojourn.test")
    speaker = profile.client("dev")
    speaker.sleep = lambda _: None

    def unreachable(request: Request) -> Response:
        return gone()

    monkeypatch.setattr(speaker, "_transport", unreachable)
    monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(ApiConnectionError):
        speaker.list_runs()
    assert stderr.getvalue() == "sojourn: no answer from http://sojourn.test yet: trying again …\n" * lines
