"""Every way in which a user's process may end, told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.worker_server import WorkerServer
from tests.support.stack import until

from sojourn.executor_shim.process_tree import descendants

Start = Callable[..., ShimProcess]


@pytest.mark.parametrize(
    ("payload", "code", "text"),
    [
        ({"how": "exit", "code": 3}, "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", "code 3"),
        ({"how": "exit", "code": 0}, "TASK_RUN_CRASHED", "code 0"),
        ({"how": "segfault"}, "TASK_PROCESS_SIGSEGV", "SIGSEGV"),
        ({"how": "abort"}, "TASK_RUN_CRASHED", "SIGABRT"),
        ({"how": "SIGTERM"}, "TASK_PROCESS_SIGTERM", "SIGTERM"),
        ({"how": "SIGKILL"}, "TASK_PROCESS_MAYBE_OOM_KILLED", "SIGKILL"),
        ({"how": "SIGBUS"}, "TASK_RUN_CRASHED", "SIGBUS"),
        ({"how": "close"}, "TASK_RUN_CRASHED", "closed the pipe"),
        ({"how": "garbage"}, "TASK_RUN_CRASHED", "not JSON"),
        ({"how": "memory_error"}, "TASK_PROCESS_OOM_KILLED", "no more"),
    ],
)
def test_an_end_has_its_code(server: WorkerServer, start: Start, payload: Any, code: str, text: str) -> None:
    start()
    run = server.give("end", payload)
    completion = server.result(run)
    error = completion["outcome"]["error"]
    assert (completion["outcome"]["ok"], error["type"], error["code"]) == (False, "INTERNAL_ERROR", code)
    assert text in error["message"]
    assert "last words" in server.messages(run)
    if payload["how"] != "memory_error":
        assert "last words" in error["stackTrace"]
    assert server.result(server.give("hello", 1))["outcome"]["ok"]


def test_a_crash_shows_where_it_was(server: WorkerServer, start: Start) -> None:
    start()
    error = server.result(server.give("end", {"how": "segfault"}))["outcome"]["error"]
    assert "tasks.py" in error["stackTrace"] and "Segmentation fault" in error["stackTrace"]


@pytest.mark.parametrize("payload", [{"how": "sys.exit", "code": 4}, {"how": "recursion"}])
def test_what_python_can_catch_is_the_tasks_own_error(server: WorkerServer, start: Start, payload: Any) -> None:
    start()
    outcome = server.result(server.give("end", payload))["outcome"]
    assert outcome["error"]["name"] in ("SystemExit", "RecursionError")
    assert outcome["retry"]["delay"] == 50


def test_memory_beyond_the_machines_ends_the_process(server: WorkerServer, start: Start) -> None:
    start()
    error = server.result(server.give("grow", memoryBytes=200 << 20))["outcome"]["error"]
    assert (error["code"], "of 200 MB" in error["message"]) == ("TASK_PROCESS_OOM_KILLED", True)
    assert server.result(server.give("hello", 1))["outcome"]["ok"]


def test_memory_that_forked_processes_share_counts_once(server: WorkerServer, start: Start) -> None:
    start()
    outcome = server.result(server.give("share", memoryBytes=200 << 20))["outcome"]
    assert outcome == {"ok": True, "output": str(60 << 20), "outputType": "application/json"}


def test_processes_of_a_process_that_ended_end_too(server: WorkerServer, start: Start) -> None:
    """One of them holds every pipe open, so that only the process's own end tells of its end."""
    shim = start()
    run = server.give("daemon", {"exit": 5})
    error = server.result(run)["outcome"]["error"]
    assert error["code"] == "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
    left = json.loads(server.messages(run)[0].removeprefix("left "))
    assert len(left) == 3 and not any(shim.outside(pid) for pid in left)


def test_a_bounded_fork_bomb_is_cleared_away(server: WorkerServer, start: Start) -> None:
    shim = start()
    server.result(server.give("bomb"))
    assert not shim.running(b"os.fork")
    (child,) = until(lambda: shim.running(b"executor_shim.runner"), 10, "the next process is there")
    assert descendants(child) == []
