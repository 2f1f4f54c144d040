"""Every way an attempt can end, provoked in a real process, and the code that the run gets."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.shapes import SHAPES, needs, project_in
from tests.support.stack import Stack, until

PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="module", params=SHAPES)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every end is the same without a sandbox, in one, and in a process that was frozen, with one executor for all."""
    shape = request.param
    needs(shape)
    made = Stack(**SHAPES[shape])
    made.up()
    made.deploy(project_in(shape, PROJECT, tmp_path_factory.mktemp("shape")))
    yield made
    made.down()


def finished(stack: Stack, task: str, payload, **options):
    client = stack.client()
    run = client.trigger(task, payload, options or None)["id"]
    result = until(lambda: client.result(run, wait=20), 40, f"{task} ends")
    return result, client.retrieve(run), run


def test_a_payload_comes_back(stack: Stack):
    payload = {"text": "é\u0000\ud83d", "n": [1, 2.5, None, True], "deep": {"a": {"b": []}}}
    result, run, _ = finished(stack, "echo", payload)
    assert json.loads(result["output"]) == payload
    assert run["status"] == "COMPLETED"


def test_a_task_that_fails_twice_and_then_succeeds(stack: Stack):
    result, _, run_id = finished(stack, "fails-until", {"until": 3, "n": 7})
    assert json.loads(result["output"]) == {"n": 7, "attempts": 3}
    attempts = stack.client().timeline(run_id)["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["RETRY_NOW", "RETRY_NOW", "SUCCEED"]


def test_a_task_that_always_fails(stack: Stack):
    result, run, _ = finished(stack, "always-fails", None)
    assert (run["status"], run["attemptCount"]) == ("FAILED", 3)
    assert result["error"]["name"] == "RuntimeError"
    assert "zoo.py" in result["error"]["stackTrace"]


def test_an_abort_is_not_retried(stack: Stack):
    _, run, _ = finished(stack, "aborts", None)
    assert (run["status"], run["attemptCount"]) == ("FAILED", 1)


@pytest.mark.parametrize(
    ("task", "payload", "code", "status"),
    [
        ("exits", 3, "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "CRASHED"),
        ("exits", 0, "TASK_RUN_CRASHED", "CRASHED"),
        ("signals", int(signal.SIGSEGV), "TASK_PROCESS_SIGSEGV", "CRASHED"),
        ("signals", int(signal.SIGTERM), "TASK_PROCESS_SIGTERM", "SYSTEM_FAILURE"),
        ("signals", int(signal.SIGKILL), "TASK_PROCESS_MAYBE_OOM_KILLED", "CRASHED"),
        ("signals", int(signal.SIGABRT), "TASK_RUN_CRASHED", "CRASHED"),
        ("signals", int(signal.SIGBUS), "TASK_RUN_CRASHED", "CRASHED"),
        ("signals", int(signal.SIGFPE), "TASK_RUN_CRASHED", "CRASHED"),
        ("signals", int(signal.SIGILL), "TASK_RUN_CRASHED", "CRASHED"),
        ("eats-memory", None, "TASK_PROCESS_OOM_KILLED", "CRASHED"),
        ("too-long", None, "MAX_DURATION_EXCEEDED", "TIMED_OUT"),
        ("returns", "nan", "TASK_OUTPUT_ERROR", "FAILED"),
        ("returns", "big", "TASK_OUTPUT_ERROR", "FAILED"),
        ("returns", "generator", "TASK_OUTPUT_ERROR", "FAILED"),
    ],
)
def test_the_code_of_each_end(stack: Stack, task: str, payload, code: str, status: str):
    result, run, _ = finished(stack, task, payload)
    assert result["error"]["code"] == code
    assert run["status"] == status


@pytest.mark.parametrize("what", ["nul", "surrogate"])
def test_odd_text_is_stored_as_it_is(stack: Stack, what: str):
    result, _, _ = finished(stack, "returns", what)
    assert json.loads(result["output"]) == {"nul": "\x00", "surrogate": "\ud800"}[what]


def test_sys_exit_is_the_users_error(stack: Stack):
    result, run, _ = finished(stack, "leaves", 5)
    assert result["error"]["name"] == "SystemExit"
    assert run["status"] == "FAILED"


def test_nothing_of_a_crashed_process_is_left(stack: Stack):
    mark = f"daemon-{os.urandom(8).hex()}"
    finished(stack, "forks-a-daemon", mark)
    until(lambda: not _named(mark), 10, "the daemon is gone")


def _named(mark: str) -> list[str]:
    """Processes with this word among their arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_lines_of_every_stream_are_kept_in_order(stack: Stack):
    _, _, run = finished(stack, "prints", None)
    lines = stack.client().logs(run)["lines"]
    assert {line["stream"] for line in lines} == {"stdout", "stderr", "logger"}
    told = next(line for line in lines if line["stream"] == "logger")
    assert (told["message"], told["properties"]) == ("to the logger", {"answer": 42})
    assert any(line["message"] == "to logging" for line in lines)
    assert max(len(line["message"]) for line in lines) < 40_000


def test_a_cancelled_run_stops_at_once_and_for_good(stack: Stack):
    client = stack.client()
    run = client.trigger("sleeps", 60)["id"]
    until(lambda: client.retrieve(run)["status"] == "EXECUTING", 20, "it runs")
    client.cancel(run)
    assert client.retrieve(run)["status"] == "CANCELED"
    until(lambda: client.timeline(run)["snapshots"][-1]["status"] == "FINISHED", 20, "its process is stopped")
    client.cancel(run)
    assert client.retrieve(run)["status"] == "CANCELED"


def pid_of_executor(stack: Stack, run: str) -> int:
    """The executor in which the run sleeps."""
    client = stack.client()
    until(lambda: any(line["message"] == "sleeping" for line in client.logs(run)["lines"]), 30, "it sleeps")
    name = client.timeline(run)["snapshots"][-1]["executor"]
    return int(json.loads((stack.data_dir / "executors" / f"{name}.json").read_text())["pid"])


def test_an_executor_that_is_killed_costs_an_attempt(stack: Stack):
    client = stack.client()
    run = client.trigger("sleeps-at-first", 600)["id"]
    os.kill(pid_of_executor(stack, run), signal.SIGKILL)
    result = until(lambda: client.result(run, wait=20), 40, "it ends on another executor")
    attempts = client.timeline(run)["attempts"]
    assert result["ok"]
    assert [attempt["outcome"] for attempt in attempts] == ["RETRY_LATER", "SUCCEED"]
    assert attempts[0]["error"]["name"] == "TASK_RUN_CRASHED"


def test_a_frozen_executor_is_given_up_and_its_result_refused(stack: Stack):
    client = stack.client()
    run = client.trigger("sleeps-at-first", 600)["id"]
    pid = pid_of_executor(stack, run)
    os.kill(pid, signal.SIGSTOP)
    try:
        result = until(lambda: client.result(run, wait=20), 40, "it ends on another executor")
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    attempts = client.timeline(run)["attempts"]
    assert result["ok"]
    assert [attempt["outcome"] for attempt in attempts] == ["RETRY_LATER", "SUCCEED"]
    assert attempts[0]["error"]["name"] == "TASK_RUN_STALLED_EXECUTING"


def test_attempts_are_frozen_where_they_are_to_be(stack: Stack, request: pytest.FixtureRequest):
    _, _, run = finished(stack, "fails-until", {"until": 2, "n": 1})
    events = [row["event"] for row in stack.client().timeline(run)["snapshots"]]
    assert ("SUSPEND" in events) == ("frozen" in request.node.callspec.id), events


def test_every_invariant_holds_after_all_this(stack: Stack):
    until(lambda: stack.violations() == [], 10, "nothing is left to be mended")
