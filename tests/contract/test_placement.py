"""What every placement keeps to: one body of tests, each implementation in its place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.migrations import migrate
from sojourn.control_plane.store.seal import Seal
from sojourn.executor_shim.process_tree import children
from sojourn.scheduler.placement.base import CannotPlace, Cause
from sojourn.scheduler.placement.nomad import NomadPlacement
from sojourn.scheduler.placement.process import marked
from sojourn.sdk import archive
from tests.integration.shim.conftest import PROJECT, lives, wait_gone
from tests.integration.shim.worker_server import WorkerServer
from tests.support.sandboxes import needs_sandboxes
from tests.support.stack import until
from tests.support.stages import LocalStage, NomadStage, Stage


@pytest.fixture
def server() -> Iterator[WorkerServer]:
    made = WorkerServer()
    yield made
    made.close()


@pytest.fixture
def content_hash(server: WorkerServer) -> str:
    packed, content_hash = archive.pack(PROJECT)
    server.archives[content_hash] = packed
    return content_hash


@pytest.fixture(params=["local", "nomad"])
def stage(request: pytest.FixtureRequest) -> Stage:
    made: Stage = request.getfixturevalue(f"{request.param}_stage")
    return made


@pytest.fixture
def local_stage(server: WorkerServer, content_hash: str, tmp_path: Path) -> Iterator[LocalStage]:
    """By itself for what is by design a matter of processes on this machine: Nomad's client does it elsewhere."""
    made = LocalStage(server, tmp_path, content_hash)
    yield made
    made.close()


@pytest.fixture
def nomad_stage(
    server: WorkerServer, content_hash: str, tmp_path: Path, nomad_agent: NomadAgent, database: Database, database_url: str
) -> Iterator[NomadStage]:
    """By itself for what only a cluster knows."""
    migrate(database)
    made = NomadStage(server, tmp_path, content_hash, nomad_agent, database_url)
    yield made
    made.close()


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
    assert stage.end_of(placement, spec.executor).exit_code in stage.left_when_stopped
    assert stage.server.result(run)["outcome"]["handBack"] is True
    assert stage.server.nexts[-1]["wait"] is None
    placement.stop(spec.executor, 0)
    placement.stop("executor_unknown", 0)


def test_one_that_does_not_stop_is_made_to(stage: Stage) -> None:
    placement, spec = stage.open(), stage.spec()
    placement.place(spec)
    stage.server.wait_for(lambda: stage.server.nexts)
    pid = stage.pid(placement, spec.executor)
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
    os.kill(stage.pid(placement, spec.executor), signal.SIGKILL)
    assert stage.end_of(placement, spec.executor).exit_code == -9
    assert [pid for pid in left if lives(pid)] == []


def test_what_goes_on_below_another_executor_is_not_its_own(local_stage: LocalStage) -> None:
    """A process that was frozen bears the mark of the executor that began it, wherever it was thawed: in a sandbox."""
    needs_sandboxes()
    placement, spec = local_stage.open(), local_stage.spec()
    placement.place(spec)
    local_stage.server.wait_for(lambda: local_stage.server.nexts)
    mark = f"SOJOURN_EXECUTOR={spec.executor}"
    beside = subprocess.Popen(["env", mark, "sleep", "60"])
    apart = subprocess.Popen(["unshare", "--pid", "--fork", "env", mark, "sleep", "60"])
    try:
        until(lambda: {*marked(mark)} >= {beside.pid, *children(apart.pid)} and children(apart.pid), 60, "both are there")
        (thawed,) = children(apart.pid)
        os.kill(local_stage.pid(placement, spec.executor), signal.SIGKILL)
        local_stage.end_of(placement, spec.executor)
        assert beside.wait(60) == -signal.SIGKILL
        assert lives(thawed)
        os.kill(thawed, signal.SIGKILL)
    finally:
        for each in (beside, apart):
            each.kill()
            each.wait()


def test_closing_ends_all_and_places_no_more(stage: Stage) -> None:
    placement, specs = stage.open(), [stage.spec(), stage.spec()]
    for spec in specs:
        placement.place(spec)
    stage.server.wait_for(lambda: len(stage.server.nexts) >= len(specs))
    pids = [stage.pid(placement, spec.executor) for spec in specs]
    placement.close(0)
    assert (placement.living(), placement.free()) == ([], 0)
    for _ in range(2):  # until something came of it
        assert {ended.executor for ended in placement.ended()} == {spec.executor for spec in specs}
    placement.settled([spec.executor for spec in specs])
    assert placement.ended() == []
    assert not any(lives(pid) for pid in pids)
    with pytest.raises(CannotPlace):
        placement.place(stage.spec())


def test_a_new_scheduler_takes_over_what_a_killed_one_placed(stage: Stage) -> None:
    spec = stage.spec()
    first = stage.server.give("hello", 1)
    stage.scheduler_that_dies([spec], lambda: stage.server.result(first))
    placement = stage.open()
    assert [placed.executor for placed in placement.living()] == [spec.executor]
    assert (placement.free(), placement.ended()) == (1, [])
    placement.place(spec)
    assert len(placement.living()) == 1
    assert stage.server.result(stage.server.give("hello", 2))["outcome"]["ok"]
    placement.stop(spec.executor, 0)
    assert stage.end_of(placement, spec.executor).executor == spec.executor


def test_a_new_scheduler_is_told_of_what_died_meanwhile(stage: Stage) -> None:
    spec = stage.spec()
    run = stage.server.give("hello", 1)
    shims: list[int] = []

    def before() -> None:
        stage.server.result(run)
        shims.append(stage.pid(stage.open(), spec.executor))

    stage.scheduler_that_dies([spec], before)
    os.kill(shims[0], signal.SIGKILL)
    wait_gone(shims[0])
    placement = stage.open()
    assert stage.end_of(placement, spec.executor).exit_code != 0
    assert (placement.living(), placement.free()) == ([], 2)


def test_a_new_scheduler_is_told_how_one_left_meanwhile(nomad_stage: NomadStage) -> None:
    """The exit code is known afterwards, too: who left by itself is charged nothing."""
    stage, spec = nomad_stage, nomad_stage.spec()
    run = stage.server.give("hello", 1)
    stage.scheduler_that_dies([spec], lambda: stage.server.result(run))
    shim = stage.pid_of(spec.executor)
    stage.server.leave = "not needed"
    stage.server.give("hello", 2)
    wait_gone(shim)
    ended = stage.end_of(stage.open(), spec.executor)
    assert (ended.exit_code, ended.cause) == (0, Cause.EXITED)


def test_jobs_that_are_over_or_not_needed_are_removed(nomad_stage: NomadStage, database: Database) -> None:
    stage, access = nomad_stage, Access(database, Seal(urlsafe_b64encode(bytes(32)).decode()))
    now, executors = datetime.now(UTC), Executors(database)
    made = access.create_installation(now)
    placement, ours, others = stage.open(), stage.spec(environment=made.environments["dev"]), stage.spec()
    for spec in (ours, others):
        placement.place(spec)
    stage.server.wait_for(lambda: len(stage.server.nexts) >= 2)
    later = now + timedelta(hours=1)
    assert isinstance(placement, NomadPlacement)
    assert placement.removal.remove(later, 10) == 0, "it lives"
    for spec in (ours, others):
        placement.stop(spec.executor, 0)
        stage.end_of(placement, spec.executor)
    assert placement.removal.remove(now - timedelta(hours=1), 10) == 0, "it is kept for a while"
    parents = stage.client.parents(f"{stage.name}-")
    assert len(parents) == 2
    assert placement.removal.remove(later, 10) == 2
    assert [stage.client.children(job["ID"]) for job in parents] == [[], []]
    assert placement.removal.remove_unused(10) == 0, "it was used not long ago"
    assert executors.forget(later + timedelta(hours=1), 10) == 2
    assert placement.removal.remove_unused(10) == 1
    (left,) = stage.client.parents(f"{stage.name}-")
    assert "env_1" in left["ID"], "it may be another installation's"
    again = stage.spec(environment=made.environments["dev"])
    placement.place(again)
    assert len(stage.client.children(next(j["ID"] for j in parents if j["ID"] != left["ID"]))) == 1


def test_a_new_scheduler_ends_what_a_dead_executor_left(local_stage: LocalStage) -> None:
    stage, spec = local_stage, local_stage.spec()
    run = stage.server.give("daemon", {"stay": True})
    left: list[int] = []
    stage.scheduler_that_dies([spec], lambda: left.extend(pids_left(stage, run)))
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


def test_a_number_that_was_used_again_is_not_taken_for_an_executor(local_stage: LocalStage) -> None:
    stage = local_stage
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
    placement.settled(["executor_old"])
    assert list(registry.glob("*.json")) == []
