"""What every placement keeps to: one body of tests, each implementation in its place."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sojourn.scheduler.placement.base import CannotPlace, Ended, ExecutorSpec, Placement
from sojourn.scheduler.placement.local import LocalPlacement
from sojourn.sdk import archive
from tests.integration.shim.conftest import PROJECT, lives, wait_gone
from tests.integration.shim.worker_server import WorkerServer

PATIENCE = 20.0


class Stage:
    """One implementation, a control plane for its executors, and what it told."""

    def __init__(self, server: WorkerServer, directory: Path, content_hash: str):
        self.server = server
        self.directory = directory
        self.content_hash = content_hash
        self._rang = threading.Event()
        self._told: dict[str, Ended] = {}
        self._opened: list[LocalPlacement] = []

    def settings(self) -> dict[str, Any]:
        return {
            "api_url": self.server.url, "versions_dir": str(self.directory / "versions"), "idle_timeout": 30,
            "poll": 5, "drain_grace": 0.5, "term_grace": 0.5, "heartbeat": 0.5, "lease": 6,
        }  # fmt: skip

    def open(self, places: int = 2) -> Placement:
        placement = LocalPlacement(self.directory / "registry", places, self.settings(), self._rang.set)
        self._opened.append(placement)
        return placement

    def spec(self, **more: Any) -> ExecutorSpec:
        given = {
            "executor": f"executor_{secrets.token_hex(4)}", "organization": "org_1", "environment": "env_1",
            "version": "version_1", "version_hash": self.content_hash, "machine": "small-1x", "lane": "lane",
            "run": None, "credential": "credential",
        }  # fmt: skip
        return ExecutorSpec(**(given | more))

    def end_of(self, placement: Placement, executor: str) -> Ended:
        """Until it was told that the executor ended."""
        while executor not in self._told:
            self._told |= {ended.executor: ended for ended in placement.ended()}
            if executor not in self._told:
                assert self._rang.wait(PATIENCE), "no end was told"
                self._rang.clear()
        return self._told[executor]

    def close(self) -> None:
        self.server.leave = "the test is over"
        for placement in self._opened:
            placement.close(0)


@pytest.fixture(params=["local"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    server = WorkerServer()
    packed, content_hash = archive.pack(PROJECT)
    server.archives[content_hash] = packed
    made = Stage(server, tmp_path, content_hash)
    yield made
    made.close()
    server.close()


def pids_left(stage: Stage, run: str) -> list[int]:
    """The processes that the task `daemon` told of."""
    find: Callable[[], Any] = lambda: [line for line in stage.server.lines if line["run"] == run]  # noqa: E731
    return list(stage.server.wait_for(find)[0]["properties"]["pids"])


def test_a_placed_executor_runs_and_its_end_is_told_once(stage: Stage) -> None:
    placement, spec = stage.open(), stage.spec()
    run = stage.server.give("hello", 1)
    placement.place(spec)
    assert stage.server.result(run)["outcome"]["ok"]
    (placed,) = placement.living()
    assert (placed.executor, placed.environment, placed.version, placed.machine) == (
        spec.executor,
        "env_1",
        "version_1",
        "small-1x",
    )
    stage.server.leave = "not needed"
    stage.server.give("hello", 2)
    ended = stage.end_of(placement, spec.executor)
    assert (ended.exit_code, placement.living(), placement.ended()) == (0, [], [])


def test_places_are_counted_and_given_back(stage: Stage) -> None:
    placement, first, second = stage.open(places=1), stage.spec(), stage.spec()
    assert placement.free() == 1
    placement.place(first)
    placement.place(first)
    assert (placement.free(), len(placement.living())) == (0, 1)
    with pytest.raises(CannotPlace, match="1 places"):
        placement.place(second)
    placement.stop(first.executor, 0)
    stage.end_of(placement, first.executor)
    assert placement.free() == 1


def test_one_that_is_told_to_stop_hands_its_run_back(stage: Stage) -> None:
    placement, spec = stage.open(), stage.spec()
    run = stage.server.give("nap", {"name": "x"})
    placement.place(spec)
    stage.server.wait_for(lambda: stage.server.messages(run))
    placement.stop(spec.executor, 0)
    assert stage.end_of(placement, spec.executor).exit_code == 0
    assert stage.server.result(run)["outcome"]["handBack"] is True
    placement.stop(spec.executor, 0)
    placement.stop("executor_unknown", 0)


def test_one_that_does_not_stop_is_made_to(stage: Stage) -> None:
    placement, spec = stage.open(), stage.spec()
    placement.place(spec)
    stage.server.wait_for(lambda: stage.server.nexts)
    pid = int(placement.living()[0].handle)
    os.kill(pid, signal.SIGSTOP)
    placement.stop(spec.executor, 0.1)
    ended = stage.end_of(placement, spec.executor)
    assert (ended.exit_code, "SIGKILL" in ended.reason) == (-9, True)


def test_a_killed_executor_leaves_no_process_behind(stage: Stage) -> None:
    placement, spec = stage.open(), stage.spec()
    run = stage.server.give("daemon", {"stay": True})
    placement.place(spec)
    left = pids_left(stage, run)
    assert len(left) == 4 and all(lives(pid) for pid in left)
    os.kill(int(placement.living()[0].handle), signal.SIGKILL)
    assert stage.end_of(placement, spec.executor).exit_code == -9
    assert [pid for pid in left if lives(pid)] == []


def test_closing_ends_all_and_places_no_more(stage: Stage) -> None:
    placement, specs = stage.open(), [stage.spec(), stage.spec()]
    for spec in specs:
        placement.place(spec)
    pids = [int(placed.handle) for placed in placement.living()]
    placement.close(0)
    assert (placement.living(), placement.free()) == ([], 0)
    assert {ended.executor for ended in placement.ended()} == {spec.executor for spec in specs}
    assert not any(lives(pid) for pid in pids)
    with pytest.raises(CannotPlace):
        placement.place(stage.spec())


_SCHEDULER = """
import json, os, signal, sys
from pathlib import Path
from sojourn.scheduler.placement.base import ExecutorSpec
from sojourn.scheduler.placement.local import LocalPlacement
given = json.loads(sys.argv[1])
placement = LocalPlacement(Path(given["directory"]) / "registry", 5, given["settings"])
for spec in given["specs"]:
    placement.place(ExecutorSpec(**spec))
print("placed", flush=True)
signal.pause()
"""


def scheduler_that_dies(stage: Stage, specs: list[ExecutorSpec], before: Callable[[], Any]) -> None:
    """Another process places executors and is killed when `before` returns."""
    fields = ExecutorSpec.__slots__
    given = {
        "directory": str(stage.directory),
        "settings": stage.settings(),
        "specs": [{name: getattr(spec, name) for name in fields} for spec in specs],
    }
    command = [sys.executable, "-c", _SCHEDULER, json.dumps(given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "placed\n"
        before()
        process.kill()


def test_a_new_scheduler_takes_over_what_a_killed_one_placed(stage: Stage) -> None:
    spec = stage.spec()
    first = stage.server.give("hello", 1)
    scheduler_that_dies(stage, [spec], lambda: stage.server.result(first))
    placement = stage.open()
    assert [placed.executor for placed in placement.living()] == [spec.executor]
    assert (placement.free(), placement.ended()) == (1, [])
    placement.place(spec)
    assert len(placement.living()) == 1
    assert stage.server.result(stage.server.give("hello", 2))["outcome"]["ok"]
    placement.stop(spec.executor, 0)
    assert stage.end_of(placement, spec.executor).executor == spec.executor


def test_a_new_scheduler_ends_what_a_dead_executor_left(stage: Stage) -> None:
    spec = stage.spec()
    run = stage.server.give("daemon", {"stay": True})
    left: list[int] = []
    scheduler_that_dies(stage, [spec], lambda: left.extend(pids_left(stage, run)))
    (file,) = (stage.directory / "registry").glob("*.json")
    pid = int(json.loads(file.read_text())["pid"])
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    placement = stage.open()
    (ended,) = placement.ended()
    assert (ended.executor, placement.living()) == (spec.executor, [])
    marked = [left[0], left[2], left[3]]  # the second has taken the mark away, and nobody was there to see it
    assert [pid for pid in marked if lives(pid)] == []
    os.kill(left[1], signal.SIGKILL)


def test_a_number_that_was_used_again_is_not_taken_for_an_executor(stage: Stage) -> None:
    registry = stage.directory / "registry"
    registry.mkdir()
    told = {
        "executor": "executor_old", "environment": "env_1", "version": "v", "machine": "m", "pid": os.getpid(),
        "started": 1,
    }  # fmt: skip
    (registry / "executor_old.json").write_text(json.dumps(told))
    (registry / "executor_torn.json").write_text("{")
    placement = stage.open()
    assert ([ended.executor for ended in placement.ended()], placement.living()) == (["executor_old"], [])
    assert list(registry.glob("*.json")) == []
