"""A sandbox that is made while an image is on its way: it is the thawed process's, or it is gone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.shim.conftest import ShimProcess, offered
from tests.integration.shim.freezing_server import FreezingServer
from tests.integration.shim.frozen_project import sandbox, server
from tests.integration.shim.icebox import Icebox
from tests.integration.shim.test_freezing_faults import sandboxes
from tests.support.freezers import needs_freezing

from sojourn.executor_shim.child import environment_for
from sojourn.executor_shim.freezing import identity
from sojourn.executor_shim.process_tree import descendants

__all__ = ["sandbox", "server"]

PROJECT = Path(__file__).parent / "waiting_project"
WAITING = {"freeze": True, "after": 0, "threshold": 0, "short": 0}


@pytest.fixture(scope="module")
def icebox() -> Iterator[Icebox]:
    needs_freezing()
    made = Icebox({"network": "none"})
    yield made
    made.close()


@pytest.fixture
def content_hash(server: FreezingServer) -> str:
    return offered(server, PROJECT)


def begin(icebox: Icebox, last_pid: int | None = None) -> None:
    usual = identity.room(set(), identity.most_numbers())
    icebox.keeper.ahead(icebox.plan(environment_for("test")), last_pid or usual)


def settled(icebox: Icebox, count: int) -> None:
    """Until there are as many sandboxes."""
    deadline = time.monotonic() + 60
    while len(sandboxes(icebox)) != count:
        assert time.monotonic() < deadline, sandboxes(icebox)
        time.sleep(0.01)


def test_it_is_the_thawed_process_s(icebox: Icebox, tmp_path: Path) -> None:
    first = icebox.start()
    first.run("nothing", {"ballast": 1})
    first.until_standing("go-0")
    first.freeze(tmp_path / "image")
    first.end()
    settled(icebox, 0)
    begin(icebox)
    settled(icebox, 1)
    (ahead,) = sandboxes(icebox)
    second = icebox.thaw(tmp_path / "image")
    assert sandboxes(icebox) == [ahead] and second.process.pid in descendants(ahead)
    second.child.go_on()
    second.let_go("go-0")
    assert second.output_of_run()["ballast"] == 1 << 20
    second.end()
    settled(icebox, 0)


def test_one_that_nobody_wants_is_ended(icebox: Icebox) -> None:
    before = os.listdir("/proc/self/fd")
    begin(icebox)
    icebox.keeper.forget()
    icebox.keeper.forget()
    settled(icebox, 0)
    assert len(os.listdir("/proc/self/fd")) <= len(before)  # what other tests have left open may be closed meanwhile


def test_one_that_does_not_fit_makes_way(icebox: Icebox) -> None:
    begin(icebox, 30_000)
    begin(icebox)
    resident = icebox.start()
    settled(icebox, 1)
    resident.run("nothing", {"times": 0})
    assert resident.output_of_run()
    resident.end()
    settled(icebox, 0)


def test_an_executor_that_is_started_for_a_frozen_run_begins_without_a_process(
    server: FreezingServer, start: Callable[..., ShimProcess]
) -> None:
    first = start()
    run = server.give("wait-a-while", {"seconds": 60}, file="waits.py", waiting=WAITING, memoryBytes=None)
    server.frozen(run)
    first.process.terminate()
    first.wait()
    second = start(thaws=True)
    deadline = time.monotonic() + 60
    while len(descendants(second.pid)) < 3:  # the keeper, who holds a sandbox, and its init
        assert time.monotonic() < deadline, second.log.read_text()
        time.sleep(0.01)
    assert not second.running(b"executor_shim.runner")
    server.resume(run)
    outcome = server.result(run)["outcome"]
    assert outcome["ok"] and json.loads(outcome["output"]) == "waited", outcome
    assert second.running(b"executor_shim.runner")
