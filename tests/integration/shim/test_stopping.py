"""Attempts that are stopped: cancelled, too long, no longer ours, out of touch, or their executor has to leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess, lives, wait_gone
from tests.integration.shim.worker_server import WorkerServer

Start = Callable[..., ShimProcess]


def line(server: WorkerServer, run: str, text: str) -> dict[str, Any]:
    """The run's line of that text, which came while it ran."""
    return dict(
        server.wait_for(
            lambda: next((each for each in server.lines if each["run"] == run and each["message"] == text), None)
        )
    )


def test_a_cancelled_run_runs_its_hooks_and_its_finally(server: WorkerServer, start: Start) -> None:
    shim = start()
    run = server.give("nap", {"name": "Ada"})
    pid = shim.outside(line(server, run, "sleeping")["properties"]["pid"])
    assert lives(pid)
    server.tell(run, "cancel", 9)
    completion = server.result(run)
    assert (completion["snapshot"], completion["outcome"]["error"]["code"]) == (9, "TASK_RUN_CANCELLED")
    assert {"on_cancel Ada", "finally"} <= set(server.messages(run))
    assert not lives(pid)
    assert server.result(server.give("hello"))["outcome"]["ok"]


def test_a_cancelled_coroutine_is_cancelled(server: WorkerServer, start: Start) -> None:
    start()
    run = server.give("async-nap")
    line(server, run, "sleeping")
    server.tell(run, "cancel", 9)
    assert server.result(run)["outcome"]["error"]["code"] == "TASK_RUN_CANCELLED"
    assert "cancelled" in server.messages(run)


def test_one_that_does_not_let_itself_be_cancelled_is_killed(server: WorkerServer, start: Start) -> None:
    shim = start(cancel_grace=0.5, term_grace=0.3)
    run = server.give("stubborn")
    pid = shim.outside(line(server, run, "stubborn")["properties"]["pid"])
    assert lives(pid)
    server.tell(run, "cancel", 9)
    completion = server.result(run)
    assert (completion["snapshot"], completion["outcome"]["error"]["code"]) == (9, "TASK_RUN_CANCELLED")
    assert not lives(pid)


def test_an_attempt_that_takes_too_long_is_ended(server: WorkerServer, start: Start) -> None:
    start()
    for task, longest in (("stubborn", 1.5), ("busy", 1.5), ("cooperative", 6)):
        run = server.give(task, {"seconds": 600}, maxDuration=longest)
        error = server.result(run)["outcome"]["error"]
        assert (error["code"], f" {longest} s" in error["message"]) == ("MAX_DURATION_EXCEEDED", True), error
    assert "signal seen" in server.messages(run)


@pytest.mark.parametrize("how", ["told", "refused"])
def test_a_run_that_is_no_longer_ours_is_killed_and_not_spoken_of(server: WorkerServer, start: Start, how: str) -> None:
    shim = start()
    run = server.give("nap", {"name": "x"})
    pid = shim.outside(line(server, run, "sleeping")["properties"]["pid"])
    assert lives(pid)
    if how == "told":
        server.tell(run, "stop")
    else:
        server.fail = lambda path, body: 409 if path == "heartbeat" else None
    wait_gone(pid)
    assert server.result(server.give("hello"))["outcome"]["ok"]
    assert [each["run"] for each in server.completions] == ["run_2"]


def test_user_code_that_holds_the_interpreter_beats_all_the_same(server: WorkerServer, start: Start) -> None:
    start(lease=60, heartbeat=0.3)
    run = server.give("busy", {"seconds": 3})
    assert server.result(run)["outcome"]["ok"]
    assert len([beat for beat in server.beats if beat["run"] == run]) >= 3


def test_without_an_answer_for_most_of_a_lease_the_run_is_given_up(server: WorkerServer, start: Start) -> None:
    shim = start(lease=5, heartbeat=0.3)
    run = server.give("nap", {"name": "x"})
    pid = shim.outside(line(server, run, "sleeping")["properties"]["pid"])
    assert lives(pid)

    def is_away(path: str, body: dict[str, Any]) -> int | None:
        """While the process lives: the executor would leave if its lease passed, too."""
        if lives(pid):
            return 0
        server.given.pop(run, None)  # its lease is over: it is another's
        return None

    server.fail = is_away
    wait_gone(pid)
    assert server.result(server.give("hello"))["outcome"]["ok"]
    assert run not in [each["run"] for each in server.completions]
    assert "given up" in shim.log.read_text()


def test_a_control_plane_that_is_away_for_a_while_changes_nothing(server: WorkerServer, start: Start) -> None:
    start(lease=30, heartbeat=0.2)
    run = server.give("nap", {"name": "x", "seconds": 1.5})
    line(server, run, "sleeping")
    refused: list[str] = []

    def away(path: str, body: dict[str, Any]) -> int | None:
        refused.append(path)
        return (503 if len(refused) % 2 else 0) if len(refused) < 8 else None

    server.fail = away
    assert server.result(run)["outcome"]["ok"]


def test_told_to_leave_it_hands_its_run_back(server: WorkerServer, start: Start) -> None:
    shim = start(drain_grace=0.3)
    run = server.give("nap", {"name": "x"})
    pid = shim.outside(line(server, run, "sleeping")["properties"]["pid"])
    assert lives(pid)
    os.kill(shim.pid, signal.SIGINT)
    os.kill(shim.pid, signal.SIGTERM)
    assert shim.wait() == 0
    outcome = server.result(run)["outcome"]
    assert (outcome["handBack"], outcome["error"]["code"]) == (True, "GRACEFUL_EXIT_TIMEOUT")
    assert server.nexts[-1]["wait"] is None and not lives(pid)


def test_told_to_leave_it_lets_a_short_run_end(server: WorkerServer, start: Start) -> None:
    shim = start(drain_grace=20)
    run = server.give("nap", {"name": "x", "seconds": 1.2})
    line(server, run, "sleeping")
    os.kill(shim.pid, signal.SIGTERM)
    assert shim.wait() == 0
    assert server.result(run)["outcome"]["ok"]


@pytest.mark.parametrize("task", ["hello", "flaky"])
def test_told_to_leave_between_attempts_it_leaves_at_once(server: WorkerServer, start: Start, task: str) -> None:
    shim = start()
    run = server.give(task, 1)
    server.retry(run, 20_000)
    server.result(run if task == "hello" else f"{run}/1")
    os.kill(shim.pid, signal.SIGTERM)
    assert shim.wait() == 0
    assert server.nexts[-1]["wait"] is None


def test_a_run_that_is_cancelled_between_attempts_is_told_as_cancelled(server: WorkerServer, start: Start) -> None:
    start()
    run = server.give("flaky")
    server.retry(run, 20_000)
    server.wait_for(lambda: [beat for beat in server.beats if beat["run"] == run])
    server.tell(run, "cancel", 9)
    completion = server.result(run)
    assert (completion["snapshot"], completion["outcome"]["error"]["code"]) == (9, "TASK_RUN_CANCELLED")
    assert server.result(server.give("hello"))["outcome"]["ok"]


def test_a_killed_shim_takes_its_user_process_with_it(server: WorkerServer, start: Start) -> None:
    shim = start()
    run = server.give("stubborn")
    pid = shim.outside(line(server, run, "stubborn")["properties"]["pid"])
    assert lives(pid)
    os.kill(shim.pid, signal.SIGKILL)
    wait_gone(pid)
