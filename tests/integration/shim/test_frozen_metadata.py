"""Metadata of a run whose process is frozen: told before that, counted on after the thaw, each change once."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.freezing_server import FreezingServer
from tests.integration.shim.test_frozen_timers import content_hash, give, output, resume_when_due, sandbox, server
from tests.integration.shim.test_metadata_changes import applied

__all__ = ["content_hash", "sandbox", "server"]

Start = Callable[..., ShimProcess]


def test_changes_are_told_before_the_freeze_and_counted_on_after_it(server: FreezingServer, start: Start) -> None:
    start(idle_timeout=60)
    run = give(server, "wait-and-count", {"seconds": 2})
    server.frozen(run)
    assert applied(server, run) == [1]
    resume_when_due(server, run)
    assert output(server, run) == 2
    assert applied(server, run) == [1, 2]
