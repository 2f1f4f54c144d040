"""Runs one after another in one process, and what they see of each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.worker_server import WorkerServer
from tests.support.stack import until

Start = Callable[..., ShimProcess]


def output(server: WorkerServer, run: str) -> Any:
    outcome = server.result(run)["outcome"]
    assert outcome["ok"], outcome
    return json.loads(outcome["output"])


def test_one_process_serves_many_runs(server: WorkerServer, start: Start) -> None:
    start()
    told = [output(server, server.give("hello", number)) for number in range(5)]
    assert [each["runs"] for each in told] == [1, 2, 3, 4, 5]
    assert len({each["process"] for each in told}) == 1 and told[0]["init"] is True
    assert [body["served"] for body in server.nexts][:6] == [0, 1, 2, 3, 4, 5]
    first = server.completions[0]
    assert (first["snapshot"], first["token"], first["attempt"]) == (3, "token-run_1", 1)
    assert 0 <= first["usageMs"] < 60_000


def test_a_process_is_replaced_after_so_many_runs(server: WorkerServer, start: Start) -> None:
    shim = start(max_runs=2)
    told = [output(server, server.give("hello", number)) for number in range(4)]
    assert [each["runs"] for each in told] == [1, 2, 1, 2]
    assert len({each["process"] for each in told}) == 2
    until(lambda: len(shim.running(b"executor_shim.runner")) == 1, 10, "there is one process, the next one")


def test_the_environment_is_the_runs_own(server: WorkerServer, start: Start, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    start()
    payload = {"names": ["ONE", "LEFT_BEHIND", "SET_AT_IMPORT", "SOJOURN_API_URL", "SOJOURN_SECRET_KEY"]}
    first = output(server, server.give("env", payload, variables={"ONE": "1"}))
    again = output(server, server.give("env", payload, variables={"ONE": "1"}))
    other = output(server, server.give("env", payload, variables={"TWO": "2"}))
    assert first["told"] == {
        "ONE": "1",
        "LEFT_BEHIND": None,
        "SET_AT_IMPORT": "yes",
        "SOJOURN_API_URL": server.url,
        "SOJOURN_SECRET_KEY": "tr_dev_test",
    }
    assert "DATABASE_URL" not in first["all"]
    assert (again["told"], again["process"]) == (first["told"], first["process"])
    assert (other["told"]["ONE"], other["process"] != first["process"]) == (None, True)


def test_lines_of_every_kind_reach_the_runs_log(server: WorkerServer, start: Start) -> None:
    start()
    run = server.give("speak")
    server.result(run)
    lines = {line["message"]: line for line in server.log(run)}
    assert set(lines) == {"one", "two", "three", "four", "five without an end"}
    assert [(line["stream"], line["level"]) for line in (lines["one"], lines["two"], lines["three"], lines["four"])] == [
        ("stdout", "LOG"),
        ("logger", "INFO"),
        ("stderr", "WARN"),
        ("logger", "WARN"),
    ]
    assert (lines["two"]["properties"], lines["four"]["properties"]) == ({"number": 2}, {"logger": "lib"})
    assert [line["n"] for line in server.log(run)] == [1, 2, 3, 4, 5]
    assert {line["attempt"] for line in server.log(run)} == {1}


def test_code_that_cannot_be_imported_is_told_with_its_traceback(server: WorkerServer, start: Start) -> None:
    start()
    run = server.give("broken", file="deep/broken.py")
    error = server.result(run)["outcome"]["error"]
    assert (error["code"], "RuntimeError: broken on purpose" in error["message"]) == ("COULD_NOT_IMPORT_TASK", True)
    assert 'broken.py", line 4' in error["stackTrace"]
    assert server.messages(run) == ["about to break"]
    missing = server.result(server.give("nobody"))["outcome"]
    assert (missing["error"]["code"], missing["ok"]) == ("COULD_NOT_FIND_TASK", False)
    assert output(server, server.give("hello"))["runs"] == 1


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("eager", "deep/eager.py triggers or changes something while it is imported"),
        ("needing", "install what brings 'not_installed_anywhere'"),
    ],
)
def test_code_that_cannot_be_imported_says_what_to_do(server: WorkerServer, start: Start, file: str, told: str) -> None:
    start()
    error = server.result(server.give(file, file=f"deep/{file}.py"))["outcome"]["error"]
    assert (error["code"], told in error["message"]) == ("COULD_NOT_IMPORT_TASK", True)


def test_code_that_ends_its_process_when_imported(server: WorkerServer, start: Start) -> None:
    start()
    for _ in range(2):
        run = server.give("deadly", file="deep/deadly.py")
        error = server.result(run)["outcome"]["error"]
        assert error["code"] == "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE" and "code 7" in error["message"]
    assert output(server, server.give("hello"))["runs"] == 1


def test_a_large_payload_goes_to_a_process_that_is_not_listening_yet(server: WorkerServer, start: Start) -> None:
    run = server.give("big", {"text": "x" * 3_000_000})
    start()
    assert output(server, run)["length"] == 3_000_000


def test_retries_in_place_reuse_the_process(server: WorkerServer, start: Start) -> None:
    start()
    run = server.give("flaky")
    server.retry(run, 300, 20)
    assert output(server, run)["attempt"] == 3
    assert [each["snapshot"] for each in server.completions] == [3, 5, 7]
    assert next(beat["snapshot"] for beat in server.beats if beat["snapshot"] != 3) == 4


def test_a_copy_of_the_process_that_comes_back_from_the_task_tells_nothing(server: WorkerServer, start: Start) -> None:
    start()
    told = output(server, server.give("come-back-twice"))
    assert told["child"] != 0
    assert output(server, server.give("hello", 1))["init"]
    assert len(server.completions) == 2


def test_what_a_run_leaves_behind_is_ended_with_it(server: WorkerServer, start: Start) -> None:
    shim = start()
    left = output(server, server.give("daemon"))
    assert output(server, server.give("hello"))["runs"] == 1
    assert len(left) == 4 and not any(shim.outside(pid) for pid in left[:3])


def test_it_leaves_when_it_is_told_to_or_has_been_idle(server: WorkerServer, start: Start) -> None:
    idle = start(idle_timeout=0.3, poll=0.1)
    assert idle.wait() == 0
    assert server.nexts[-1]["wait"] is None
    server.leave = "another environment is due"
    assert start().wait() == 0


def test_one_that_is_refused_leaves_with_an_error(server: WorkerServer, start: Start) -> None:
    assert start(credential="of somebody else").wait() == 1
    server.fail = lambda path, body: 410
    assert start().wait() == 0
