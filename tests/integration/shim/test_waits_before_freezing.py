"""What a run does between the moment that it is blocked and the moment that its process is gone: a real shim and criu."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.freezing_server import FreezingServer
from tests.integration.shim.frozen_project import content_hash, sandbox, server

Start = Callable[..., ShimProcess]
AT_ONCE = {"freeze": True, "after": 0, "threshold": 0, "short": 0}
__all__ = ["content_hash", "sandbox", "server"]

TASKS = """
from sojourn import task, wait


@task
def waits(payload):
    return wait.for_token("waitpoint_1").unwrap()
"""


def test_an_image_that_is_not_stored_is_not_written_again_at_once(server: FreezingServer, start: Start) -> None:
    """The control plane answers the reason as it answers any word of a wait: that the run is blocked."""
    start(heartbeat=0.2)
    server.refusals["image"] = 413
    run = server.give("waits", waiting=AT_ONCE)
    server.wait_for(lambda: any(told.get("hold") for told in server.told_waits))
    beats = len(server.beats)
    server.wait_for(lambda: len(server.beats) >= beats + 5)
    server.finish("waitpoint_1", "yes")
    assert json.loads(server.result(run)["outcome"]["output"]) == "yes"
    assert len(server.begun) == 1


def test_time_in_memory_before_the_freeze_is_not_used(server: FreezingServer, start: Start) -> None:
    start()
    began = time.monotonic()
    run = server.give("waits", waiting={**AT_ONCE, "after": 3})
    server.blocked(run)
    blocked = time.monotonic()
    server.wait_for(lambda: server.begun)
    in_memory = time.monotonic() - blocked
    server.frozen(run)
    server.resume(run)
    usage: Any = server.result(run)["usageMs"]
    # What it takes to store the image and to thaw it is not used either, and is more than a call's way.
    assert usage / 1000 < time.monotonic() - began - in_memory
