"""Timers of an event loop whose process is frozen: they are due when they should be, wherever it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess, offered
from tests.integration.shim.freezing_server import FreezingServer
from tests.integration.shim.frozen_project import sandbox, server

__all__ = ["sandbox", "server"]

Start = Callable[..., ShimProcess]
WAITING = {"freeze": True, "after": 0, "threshold": 0, "short": 0}
#: Seconds that a thaw and a new beginning may take on a machine that is busy with other tests.
LATE = 30.0


@pytest.fixture
def content_hash(server: FreezingServer) -> str:
    return offered(server, Path(__file__).parent / "waiting_project")


def give(server: FreezingServer, task: str, payload: Any, **more: Any) -> str:
    return server.give(task, payload, file="waits.py", waiting={**WAITING, **more}, memoryBytes=None)


def resume_when_due(server: FreezingServer, run: str) -> None:
    """As the platform does: when the first date has come that the frozen run waits for."""
    server.frozen(run)
    parked = server.parked[run]
    (due,) = [
        datetime.fromisoformat(parked.known[key]["at"]) for key in parked.pending if parked.known[key]["kind"] == "date"
    ]
    time.sleep(max((due - datetime.now(UTC)).total_seconds(), 0))
    server.resume(run, kinds=("date",))


def output(server: FreezingServer, run: str) -> Any:
    outcome = server.result(run, 60)["outcome"]
    assert outcome["ok"], outcome
    return json.loads(outcome["output"])


def test_a_time_out_comes_in_time(server: FreezingServer, start: Start) -> None:
    start(idle_timeout=60)
    run = give(server, "within-a-time", 3)
    resume_when_due(server, run)
    assert 3 <= output(server, run) < 3 + LATE
    assert len(server.thaws) == 1


def test_timers_are_due_in_time_after_several_freezes(server: FreezingServer, start: Start) -> None:
    start(idle_timeout=60)
    run = give(server, "three-sleeps", [3, 6, 10])
    for thaws in (1, 2):
        resume_when_due(server, run)
        server.wait_for(lambda wanted=thaws: len(server.thaws) == wanted)
    server.frozen(run)
    server.resume(run, kinds=("token",))  # before its last timer; then nothing of ours is waited for
    told = output(server, run)
    assert len(server.thaws) == 3
    assert [seconds <= end < seconds + LATE for seconds, end in zip([3, 6, 10], told["ends"], strict=True)] == [True] * 3, (
        told
    )
    assert abs(told["clock"] - told["wall"]) < 1, told
