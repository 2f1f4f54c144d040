"""Waiting for a run to end: a long poll that the end itself wakes."""

from __future__ import annotations

import time
from collections.abc import Callable

from sojourn.control_plane.domain import lifecycle
from sojourn.control_plane.engine.errors import RunNotFound
from sojourn.control_plane.queue.mailbox import Mailbox
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.runs import Runs

#: Should a message be lost with Redis, the store is asked again after this many seconds.
_LOOK_AGAIN = 5.0


class Results:
    """`monotonic` measures the caller's patience, nothing else."""

    def __init__(self, runs: Runs, mailbox: Mailbox, monotonic: Callable[[], float] = time.monotonic):
        self._runs = runs
        self._mailbox = mailbox
        self._monotonic = monotonic

    def wait(self, environment: Environment, run_id: str, seconds: float) -> Run | None:
        """The run once it is over, or None when it is not within `seconds`. `RunNotFound` if there is none."""
        run = self._look(environment, run_id)
        if lifecycle.is_final(run.status):
            return run
        if seconds <= 0:
            return None
        deadline = self._monotonic() + seconds
        with self._mailbox.open_run(environment.organization_id, run_id) as box:
            while True:
                run = self._look(environment, run_id)
                if lifecycle.is_final(run.status):
                    return run
                left = deadline - self._monotonic()
                if left <= 0 or self._mailbox.interrupted:
                    return None
                box.get(min(left, _LOOK_AGAIN))

    def _look(self, environment: Environment, run_id: str) -> Run:
        run = self._runs.find(environment.id, run_id)
        if run is None:
            raise RunNotFound
        return run
