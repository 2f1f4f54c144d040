"""Answers that are lost, come twice, or refuse what was told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.worker_server import WorkerServer

Start = Callable[..., ShimProcess]


def test_a_lost_answer_is_asked_for_again(server: WorkerServer, start: Start) -> None:
    lost: list[dict[str, Any]] = []

    def lose(path: str, body: dict[str, Any]) -> bool:
        if path == "next" and not body.get("again") and len(lost) < 6:
            lost.append(body)
            return True
        return False

    server.lose = lose
    runs = [server.give("hello", number) for number in range(5)]
    start()
    outcomes = [server.result(run)["outcome"] for run in runs]
    assert [json.loads(outcome["output"])["runs"] for outcome in outcomes] == [1, 2, 3, 4, 5]
    assert [each["run"] for each in server.completions] == runs and len(lost) >= 5


def test_a_result_that_is_refused_is_told_as_an_error(server: WorkerServer, start: Start) -> None:
    server.fail = lambda path, body: 413 if ((body.get("completion") or {}).get("outcome") or {}).get("ok") else None
    start()
    run = server.give("hello", 1)
    completion = server.result(run)
    assert completion["outcome"]["error"]["code"] == "TASK_OUTPUT_ERROR" and "413" in str(completion)
    assert completion["outcome"]["skippedRetrying"] is True


def test_a_result_that_nobody_wants_is_dropped(server: WorkerServer, start: Start) -> None:
    refused: list[str] = []

    def fail(path: str, body: dict[str, Any]) -> int | None:
        if body.get("completion") and body["completion"]["run"] == "run_1":
            refused.append(path)
            return 409 if len(refused) == 1 else 400
        return None

    server.fail = fail
    start()
    server.give("hello", 1)
    assert server.result(server.give("hello", 2))["outcome"]["ok"]
    assert refused == ["next"]


def test_without_answers_for_a_lease_it_leaves_with_an_error(server: WorkerServer, start: Start) -> None:
    shim = start(lease=5)
    server.result(server.give("hello", 1))
    server.fail = lambda path, body: 503
    assert shim.wait() == 1
    assert "does not answer" in shim.log.read_text()


def test_code_that_cannot_be_had_is_told_by_its_run(server: WorkerServer, start: Start) -> None:
    for wrong in ("0" * 64, "../../etc"):
        run = server.give("hello", 1)
        shim = start(version_hash=wrong)
        error = server.result(run)["outcome"]["error"]
        assert (error["code"], "cannot be had" in error["message"]) == ("CONFIGURED_INCORRECTLY", True)
        assert shim.wait() == 0


def test_an_archive_that_is_not_what_its_hash_says_is_not_run(
    server: WorkerServer, start: Start, content_hash: str, tmp_path: Path
) -> None:
    server.archives["1" * 64] = server.archives[content_hash]
    run = server.give("hello", 1)
    start(version_hash="1" * 64)
    assert "unpacks to" in server.result(run)["outcome"]["error"]["message"]
    assert not list((tmp_path / "versions").glob("[.1]*[!k]"))


def test_two_executors_fetch_one_tree_at_once(server: WorkerServer, start: Start) -> None:
    runs = [server.give("hello", number) for number in range(2)]
    start()
    start()
    assert all(server.result(run)["outcome"]["ok"] for run in runs)
