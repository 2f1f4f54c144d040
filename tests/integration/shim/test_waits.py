"""Runs that wait: what is told, when their process counts as blocked, and how results reach it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess, lives, offered, wait_gone
from tests.integration.shim.worker_server import WorkerServer

Start = Callable[..., ShimProcess]
#: No wait is slept in the process, unless a test says so.
WAITING = {"freeze": False, "after": 60, "threshold": 60, "short": 0}


@pytest.fixture
def content_hash(server: WorkerServer) -> str:
    return offered(server, Path(__file__).parent / "waiting_project")


def give(server: WorkerServer, task: str, payload: Any = None, **more: Any) -> str:
    return server.give(task, payload, **{"file": "waits.py", "waiting": WAITING, **more})


def output(server: WorkerServer, run: str) -> Any:
    completion = server.result(run)
    assert completion["outcome"]["ok"], completion
    assert completion["snapshot"] == server.parked[run].snapshot
    return json.loads(completion["outcome"]["output"])


def test_a_wait_for_a_date_blocks_the_run_and_ends(server: WorkerServer, start: Start) -> None:
    start()
    server.has_place.clear()
    run = give(server, "wait-a-while", {"seconds": 2})
    (wait,) = server.blocked(run)
    server.has_place.set()
    assert (wait["key"], wait["kind"]) == ("1:1", "date")
    assert output(server, run) == "waited"
    assert [told["block"] for told in server.told_waits] == ["any"]


def test_a_parent_waits_for_its_child(server: WorkerServer, start: Start) -> None:
    start()
    run = give(server, "parent", {"n": 1})
    (wait,) = server.blocked(run)
    assert wait["kind"] == "run" and wait["awaited"] in server.triggered
    options = server.triggered[wait["awaited"]]["options"]
    assert options == {"parentRunId": run, "lockToVersion": "20260101.1"}
    server.finish(wait["awaited"], {"child": {"n": 1}})
    assert output(server, run) == {"ok": True, "output": {"child": {"n": 1}}, "task": "child"}


def test_a_batch_of_children_is_waited_for_as_a_whole(server: WorkerServer, start: Start) -> None:
    start()
    run = give(server, "parent-of-many", ["a", "b"])
    children = [wait["awaited"] for wait in server.blocked(run)]
    assert len(children) == 3 and server.parked[run].need == "all"
    assert server.triggered[children[2]]["options"]["tags"] == ["last"]
    for name in reversed(children[1:]):
        server.finish(name, name)
    server.finish(children[0], ok=False, output=None, error={"type": "STRING_ERROR", "message": "no"})
    assert output(server, run) == ["no", *children[1:]]
    assert [told["block"] for told in server.told_waits] == ["all"]


def test_three_kinds_are_waited_for_at_once(server: WorkerServer, start: Start) -> None:
    start()
    run = give(server, "gather")
    waits = server.wait_for(lambda: len(server.blocked(run)) == 3 and server.blocked(run))
    assert sorted(wait["kind"] for wait in waits) == ["date", "run", "token"]
    server.finish("waitpoint_1", "told")
    server.finish(next(iter(server.triggered)), "child")
    assert output(server, run) == ["child", "told"]


def test_the_first_of_several_is_enough(server: WorkerServer, start: Start) -> None:
    start()
    run = give(server, "first-of")
    assert len(server.blocked(run)) == 3
    server.finish("waitpoint_1", "first")
    assert output(server, run) == [0, "first"]


def test_what_is_there_already_is_not_waited_for(server: WorkerServer, start: Start) -> None:
    server.finish("waitpoint_1", "four")
    start()
    assert output(server, give(server, "token")) == 4
    assert [told["answer"] for told in server.told_waits] == ["ready"]


def test_a_time_out_waits_for_the_runs_place(server: WorkerServer, start: Start) -> None:
    start()
    server.has_place.clear()
    run = give(server, "within-a-time", 2)
    assert sorted(wait["kind"] for wait in server.blocked(run)) == ["date", "token"]
    with pytest.raises(AssertionError):
        server.result(run, 4)
    server.has_place.set()
    assert output(server, run) > 4
    assert [told["block"] for told in server.told_waits] == ["any"]


def test_a_large_result_arrives(server: WorkerServer, start: Start) -> None:
    start()
    run = give(server, "token")
    server.blocked(run)
    server.finish("waitpoint_1", "x" * 10_000_000)
    assert output(server, run) == 10_000_000


def test_many_large_results_arrive(server: WorkerServer, start: Start) -> None:
    """More than a frame may have, and more than a pipe takes."""
    start(lease=60)
    run = give(server, "many-tokens", 5)
    server.blocked(run)
    for n in range(5):
        server.finish(f"waitpoint_{n}", "\n" * 5_000_000)
    assert output(server, run) == [5_000_000] * 5


def test_threads_wait_beside_the_main_one(server: WorkerServer, start: Start) -> None:
    start()
    run = give(server, "threads")
    server.wait_for(lambda: len(server.blocked(run)) == 3)
    for n in range(3):
        server.finish(f"waitpoint_{n}", n)
    assert output(server, run) == [2, 0, 1]


@pytest.mark.parametrize(("task", "words"), [("cancelled", ["on_cancel", "finally"]), ("async-cancelled", ["cancelled"])])
def test_a_blocked_run_is_cancelled(server: WorkerServer, start: Start, task: str, words: list[str]) -> None:
    start()
    run = give(server, task)
    server.blocked(run)
    server.tell(run, "cancel", 9)
    completion = server.result(run)
    assert (completion["snapshot"], completion["outcome"]["error"]["code"]) == (9, "TASK_RUN_CANCELLED")
    assert server.messages(run) == words


def test_lost_answers_lose_nothing(server: WorkerServer, start: Start) -> None:
    lost: list[str] = []

    def lose(path: str, body: dict[str, Any]) -> bool:
        """Every first answer is lost."""
        if path in ("wait", "heartbeat") and not body.get("again") and len(lost) % 2 == 0:
            lost.append(path)
            return True
        lost.append("")
        return False

    server.lose = lose
    start(heartbeat=0.2)
    run = give(server, "twice")
    assert output(server, run) == "twice"
    assert "wait" in lost and "heartbeat" in lost


def test_a_process_that_dies_while_it_is_blocked_is_told_with_the_newest_snapshot(
    server: WorkerServer, start: Start
) -> None:
    shim = start()
    run = give(server, "wait-a-while", {"seconds": 60})
    server.blocked(run)
    pid = shim.outside(line(server, run, "waiting")["properties"]["pid"])
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    completion = server.result(run)
    assert completion["snapshot"] == server.parked[run].snapshot == 4
    assert completion["outcome"]["error"]["code"] == "TASK_PROCESS_MAYBE_OOM_KILLED"


def test_an_end_waits_for_the_word_that_is_under_way(server: WorkerServer, start: Start) -> None:
    """The process dies while the control plane is still asked to block its run."""
    asked, go_on = threading.Event(), threading.Event()

    def fail(path: str, body: dict[str, Any]) -> None:
        if path == "wait":
            asked.set()
            go_on.wait(90)

    server.fail = fail
    shim = start()
    run = give(server, "wait-a-while", {"seconds": 60})
    assert asked.wait(90)
    pid = shim.outside(line(server, run, "waiting")["properties"]["pid"])
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    go_on.set()
    assert server.result(run)["snapshot"] == server.parked[run].snapshot == 4


def test_time_without_a_place_is_neither_used_nor_counted(server: WorkerServer, start: Start) -> None:
    start()
    server.has_place.clear()
    run = give(server, "wait-a-while", {"seconds": 2}, maxDuration=5)
    server.blocked(run)
    time.sleep(6)
    assert server.completions == []
    server.has_place.set()
    assert output(server, run) == "waited"
    assert server.result(run)["usageMs"] < 5_000


def test_the_time_that_is_left_counts_on_after_a_wait(server: WorkerServer, start: Start) -> None:
    start()
    run = give(server, "wait-then-sleep", {"seconds": 2}, maxDuration=4)
    completion = server.result(run)
    assert completion["outcome"]["error"]["code"] == "MAX_DURATION_EXCEEDED"
    assert server.messages(run) == ["went on"]
    assert completion["usageMs"] > 3_900


def test_a_process_that_goes_on_by_itself_is_told_and_its_time_counts(server: WorkerServer, start: Start) -> None:
    start(heartbeat=0.2)
    run = give(server, "goes-on", {"seconds": 1})
    server.blocked(run)
    server.has_place.clear()
    line(server, run, "busy")
    server.wait_for(lambda: [told["block"] for told in server.told_waits] == ["any", None])
    assert server.parked[run].is_blocked
    line(server, run, "no longer busy")
    server.has_place.set()
    server.finish("waitpoint_1")
    assert output(server, run) == 1
    assert server.result(run)["usageMs"] > 900


def test_a_process_that_waits_again_before_its_run_has_its_place_is_blocked_again(
    server: WorkerServer, start: Start
) -> None:
    """Else it would hold the place that it does not use: on a narrow queue the child's, for which it waits."""
    start(heartbeat=0.2)
    run = give(server, "goes-on", {"seconds": 0.5})
    server.blocked(run)
    server.has_place.clear()
    line(server, run, "no longer busy")
    server.wait_for(lambda: [told["block"] for told in server.told_waits] == ["any", None, "any"])
    server.has_place.set()
    server.wait_for(lambda: [told["block"] for told in server.told_waits][3:] == ["any"])
    server.finish("waitpoint_1")
    assert output(server, run) == 1


def test_a_run_whose_waits_are_stale_is_killed_and_not_spoken_of(server: WorkerServer, start: Start) -> None:
    server.fail = lambda path, body: 409 if path == "wait" else None
    shim = start()
    run = give(server, "wait-a-while", {"seconds": 60})
    pid = shim.outside(line(server, run, "waiting")["properties"]["pid"])
    assert lives(pid)
    wait_gone(pid)
    server.fail = lambda path, body: None
    assert output_of_hello(server) == {"child": "next"}
    assert run not in [each["run"] for each in server.completions]


def test_a_wait_that_is_refused_is_an_error_of_the_code(server: WorkerServer, start: Start) -> None:
    server.fail = lambda path, body: 422 if path == "wait" else None
    start()
    completion = server.result(give(server, "refused"))
    assert "UnprocessableError: the wait was refused" in json.loads(completion["outcome"]["output"])


def test_told_to_leave_a_blocked_run_is_handed_back(server: WorkerServer, start: Start) -> None:
    shim = start(drain_grace=0.3)
    run = give(server, "wait-a-while", {"seconds": 60})
    server.blocked(run)
    os.kill(shim.pid, signal.SIGTERM)
    assert shim.wait() == 0
    completion = server.result(run)
    assert (completion["snapshot"], completion["outcome"]["handBack"]) == (4, True)


def test_hooks_run_around_the_block_and_their_lines_are_told(server: WorkerServer, start: Start) -> None:
    start()
    run = give(server, "hooked")
    server.blocked(run)
    assert server.result(run)["outcome"]["ok"]
    assert server.messages(run) == ["before", "on_wait ['date']", "on_resume", "after"]


def test_a_process_that_waited_serves_the_next_run(server: WorkerServer, start: Start) -> None:
    start()
    first = [output(server, give(server, "wait-a-while", {"seconds": 0.1})) for _ in range(3)]
    assert first == ["waited"] * 3
    assert {wait["key"] for told in server.told_waits for wait in told["waits"]} == {"1:1"}


def output_of_hello(server: WorkerServer) -> Any:
    completion = server.result(give(server, "child", "next"))
    return json.loads(completion["outcome"]["output"])


def line(server: WorkerServer, run: str, text: str) -> dict[str, Any]:
    """The run's line of that text, which came while it ran."""
    return dict(
        server.wait_for(
            lambda: next((each for each in server.lines if each["run"] == run and each["message"] == text), None)
        )
    )
