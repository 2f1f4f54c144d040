"""Executors that are there before a run is, and stay: on a real stack, local and on Nomad."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from tests.support.nomad_stack import NomadStack, result
from tests.support.schedulers import database_of
from tests.support.stack import Stack, until

from sojourn.control_plane.embedded.nomad import NomadAgent

PROJECT = Path(__file__).parent / "project"
SETTINGS = {"SOJOURN_KEEP_ALIVE": "dev=1", "SOJOURN_IDLE_TIMEOUT_SECONDS": "0.5"}


def idling(stack: Stack) -> list[str]:
    """The executors that live and wait for a run."""
    connection = redis.Redis.from_url(f"unix://{stack.data_dir}/run/redis.sock")
    idle = {name.decode() for key in connection.scan_iter("*idlers") for name in connection.hkeys(key)}
    return [path.stem for path in (stack.data_dir / "executors").glob("*.json") if path.stem in idle]


def pid(stack: Stack, executor: str) -> int:
    return int(json.loads((stack.data_dir / "executors" / f"{executor}.json").read_text())["pid"])


def test_the_first_run_starts_warm_and_its_executor_stays(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack(**SETTINGS)
    client = stack.client()
    until(lambda: idling(stack), 20, "an executor waits before there is any run")
    (kept,) = stack.executors()
    first = client.trigger("echo", 1)["id"]
    assert result(client, first)["ok"]
    # A run of another machine needs an executor of its own, which leaves when it idles: by then the kept one would, too.
    other = client.trigger("echo", 2, {"machine": "medium-1x"})["id"]
    assert result(client, other)["ok"]
    until(lambda: stack.executors() == [kept], 20, "only the one that is kept is left")
    told = [client.timeline(run)["attempts"][0]["warmStart"] for run in (first, other)]
    assert told == [True, False]


def test_one_that_is_killed_and_one_of_an_old_version_are_replaced(own_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = own_stack(**SETTINGS)
    (killed,) = until(lambda: idling(stack), 20, "one is kept")
    os.kill(pid(stack, killed), signal.SIGKILL)
    (old,) = until(lambda: [each for each in idling(stack) if each != killed], 20, "another is kept")
    changed = tmp_path / "project"
    shutil.copytree(PROJECT, changed)
    (changed / "added.py").write_text("from sojourn import task\n\n\n@task()\ndef added(payload):\n    return payload\n")
    stack.deploy(changed)
    until(lambda: [each for each in idling(stack) if each not in (killed, old)], 20, "one of the new version is kept")
    until(lambda: len(stack.executors()) == 1, 20, "the old one has left")
    client = stack.client()
    run = client.trigger("added", 3)["id"]
    assert result(client, run)["ok"]
    assert client.timeline(run)["attempts"][0]["warmStart"] is True


@pytest.fixture
def on_nomad(nomad_agent: NomadAgent) -> Iterator[NomadStack]:
    stack = NomadStack(nomad_agent, **SETTINGS)
    stack.up()
    stack.deploy(PROJECT)
    yield stack
    stack.down()


def test_on_nomad_one_is_dispatched_for_no_run(on_nomad: NomadStack) -> None:
    executors = "SELECT run_id, running_at, ended_at FROM executors WHERE machine = 'small-1x'"
    database = database_of(on_nomad)
    (kept,) = until(
        lambda: [each for each in database.rows(executors) if each["running_at"]], 30, "an allocation runs before any run"
    )
    assert kept["run_id"] is None
    connection = redis.Redis.from_url(f"unix://{on_nomad.data_dir}/run/redis.sock")
    until(lambda: list(connection.scan_iter("*idlers")), 20, "it waits for a run")
    client = on_nomad.client()
    run = client.trigger("echo", 1)["id"]
    assert result(client, run)["ok"]
    assert client.timeline(run)["attempts"][0]["warmStart"] is True
    (child,) = on_nomad.children()
    assert "run" not in child["Meta"]
