"""Metadata that a task changes: what its executor tells of it, when, and what becomes of it when a call is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.worker_server import WorkerServer

Start = Callable[..., ShimProcess]
FIRST = 1 << 32


def applied(server: WorkerServer, run: str) -> list[int]:
    """The numbers of the changes that a platform would make: each once, however often it came, in order."""
    made: list[int] = []
    told = [*server.changes.get(run, []), *(each.get("changes", []) for each in server.completions if each["run"] == run)]
    for changes in told:
        for each in changes:
            if not made or each["n"] > made[-1]:
                made.append(each["n"])
    return [n - FIRST for n in made]


def test_changes_are_told_while_the_run_goes_on(server: WorkerServer, start: Start) -> None:
    ended: list[int] = []
    server.fail = lambda path, body: ended.append(len(server.completions)) if body.get("changes") else None
    start()
    run = server.give("count", {"times": 3, "seconds": 6})
    (first, *_) = server.wait_for(lambda: server.changes.get(run))
    assert first[0]["operation"] == {"type": "increment", "key": "n", "value": 1}
    assert ended[0] == 0
    assert json.loads(server.result(run)["outcome"]["output"]) == {"n": 3, "seen": True}
    assert applied(server, run) == [1, 2, 3, 4]
    whose = [each["whose"] for changes in server.changes[run] for each in changes]
    assert whose[:4] == ["run", "run", "run", "parent"]


@pytest.mark.parametrize("how", [{}, {"fails": True}, {"exits": True}])
def test_what_was_not_told_before_comes_with_the_end_whatever_that_is(
    server: WorkerServer, start: Start, how: dict[str, Any]
) -> None:
    start()
    run = server.give("count", {"times": 5, **how})
    server.result(run)
    assert applied(server, run) == [1, 2, 3, 4, 5, 6]


def test_a_call_that_fails_loses_nothing_and_one_whose_answer_is_lost_doubles_nothing(
    server: WorkerServer, start: Start
) -> None:
    calls = {"failed": 0, "lost": 0}

    def fail(path: str, body: dict[str, Any]) -> int | None:
        if path == "logs" and body.get("changes") and calls["failed"] < 2:
            calls["failed"] += 1
            return 503
        return None

    def lose(path: str, body: dict[str, Any]) -> bool:
        if path == "logs" and body.get("changes") and calls["lost"] < 2:
            calls["lost"] += 1
            return True
        return False

    server.fail, server.lose = fail, lose
    start()
    run = server.give("count", {"times": 20, "seconds": 12})
    server.wait_for(lambda: calls["lost"] >= 2)
    server.result(run)
    assert applied(server, run) == list(range(1, 22))


def test_a_run_after_another_begins_anew(server: WorkerServer, start: Start) -> None:
    start()
    for _ in range(2):
        run = server.give("count", {"times": 2})
        assert json.loads(server.result(run)["outcome"]["output"]) == {"n": 2, "seen": True}
        assert applied(server, run) == [1, 2, 3]


def test_a_run_that_changes_nothing_tells_of_nothing(server: WorkerServer, start: Start) -> None:
    start()
    run = server.give("hello")
    assert "changes" not in server.result(run) and run not in server.changes
