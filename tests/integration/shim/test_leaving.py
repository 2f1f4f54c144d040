"""Executors that cannot freeze their run, or have to leave it: a real shim, criu and all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.freezing_server import FreezingServer
from tests.integration.shim.frozen_project import content_hash, sandbox, server

Start = Callable[..., ShimProcess]
WAITING = {"freeze": True, "after": 0, "threshold": 0, "short": 0}
__all__ = ["content_hash", "sandbox", "server"]

TASKS = """
import socket, time
from sojourn import logger, task, tasks, wait


@task
def waits(payload):
    wait.for_(days=1)


@task
def works(payload):
    if payload == "triggered":
        tasks.trigger("other", 1)
    logger.info("working")
    time.sleep(600)
"""


def test_why_an_image_is_not_stored_is_told(server: FreezingServer, start: Start) -> None:
    start()
    server.refusals["image"] = 413
    run = server.give("waits", file="tasks.py", waiting=WAITING)
    held = server.wait_for(lambda: [each for each in server.told_waits if each["run"] == run and each.get("hold")])
    assert "413" in held[0]["hold"]


@pytest.mark.parametrize("payload", ["", "triggered"])
def test_a_run_at_work_is_frozen_when_its_executor_has_to_leave(server: FreezingServer, start: Start, payload: str) -> None:
    shim = start(drain_grace=0.5)
    run = server.give("works", payload, file="tasks.py", waiting=WAITING)
    server.wait_for(lambda: any(line.get("message") == "working" for line in server.lines if line["run"] == run))
    os.kill(shim.pid, signal.SIGTERM)
    assert shim.wait() == 0
    assert run in server.suspended, server.completions
