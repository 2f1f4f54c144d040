"""The shim as Nomad starts it: what it reads, what it swaps that for, and when it leaves without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.worker_server import WorkerServer

IDENTITY = "head.body.signature"


class Allocation:
    """A directory of secrets and an environment as Nomad makes them."""

    def __init__(self, server: WorkerServer, directory: Path):
        self.secrets = directory / "secrets"
        self.secrets.mkdir()
        self.file = self.secrets / "nomad_sojourn.jwt"
        self.file.write_text(IDENTITY)
        self.environment = {
            **os.environ,
            "NOMAD_META_executor": "executor_1",
            "NOMAD_SECRETS_DIR": str(self.secrets),
            "SOJOURN_API_URL": server.url,
            "SOJOURN_VERSIONS_DIR": str(directory / "versions"),
        }
        self.process: subprocess.Popen[str] | None = None

    def start(self, **changes: str | None) -> subprocess.Popen[str]:
        environment = {name: value for name, value in {**self.environment, **changes}.items() if value is not None}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sojourn.executor_shim", "--nomad"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self.process

    def leaves(self, **changes: str | None) -> tuple[int, str]:
        """Its exit code, and what it wrote."""
        process = self.start(**changes)
        told = process.communicate(timeout=90)[1]
        return process.returncode, told


@pytest.fixture
def allocation(server: WorkerServer, content_hash: str, tmp_path: Path) -> Iterator[Allocation]:
    server.shim_settings = {
        "version_hash": content_hash, "idle_timeout": 30, "poll": 5, "heartbeat": 0.5, "lease": 20,
        "something_newer": True,
    }  # fmt: skip
    made = Allocation(server, tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_an_identity_is_swapped_once_and_taken_away(server: WorkerServer, allocation: Allocation) -> None:
    run = server.give("hello", 1)
    process = allocation.start()
    assert server.result(run)["outcome"]["ok"]
    assert server.swaps == [(IDENTITY, {"executor": "executor_1"})]
    assert not allocation.file.exists()
    assert server.result(server.give("hello", 2))["outcome"]["ok"]
    server.leave = "not needed"
    server.give("hello", 3)
    assert process.wait(90) == 0
    assert len(server.swaps) == 1


def test_nothing_of_nomads_reaches_the_task(server: WorkerServer, allocation: Allocation) -> None:
    run = server.give("env", {"names": ["NOMAD_TOKEN", "SOJOURN_API_URL"]})
    allocation.start(NOMAD_TOKEN="a-token-of-somebody")
    told = json.loads(server.result(run)["outcome"]["output"])
    assert [name for name in told["all"] if name.startswith("NOMAD_")] == []
    assert told["told"]["NOMAD_TOKEN"] is None
    assert IDENTITY not in json.dumps(told) and "a-token-of-somebody" not in json.dumps(told)


@pytest.mark.parametrize("status", [401, 409])
def test_who_is_not_wanted_leaves_without_a_run(server: WorkerServer, allocation: Allocation, status: int) -> None:
    server.give("hello", 1)
    server.fail = lambda path, _: status if path == "identity" else None
    code, told = allocation.leaves()
    assert (code, server.nexts) == (0, [])
    assert "refused" in told and IDENTITY not in told


def test_a_swap_is_tried_again_while_the_key_is_fetched(server: WorkerServer, allocation: Allocation) -> None:
    answers = [503, 503]
    server.fail = lambda path, _: answers.pop() if path == "identity" and answers else None
    run = server.give("hello", 1)
    allocation.start()
    assert server.result(run)["outcome"]["ok"]
    assert answers == []


BROKEN: dict[str, tuple[Callable[[Allocation], Any], dict[str, str | None], str]] = {
    "no executor": (lambda _: None, {"NOMAD_META_executor": None}, "NOMAD_META_executor is not set"),
    "no secrets": (lambda _: None, {"NOMAD_SECRETS_DIR": None}, "NOMAD_SECRETS_DIR is not set"),
    "no identity": (lambda it: it.file.unlink(), {}, "the workload identity cannot be read"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_allocation_of_ours_says_so(server: WorkerServer, allocation: Allocation, case: str) -> None:
    spoil, changes, text = BROKEN[case]
    spoil(allocation)
    code, told = allocation.leaves(**changes)
    assert (code, server.swaps) == (1, [])
    assert text in told and "Traceback" not in told


def test_an_answer_that_makes_no_sense(server: WorkerServer, allocation: Allocation) -> None:
    server.shim_settings = {"lease": 6}
    code, told = allocation.leaves()
    assert code == 1 and "no executor" in told and "Traceback" not in told
