"""Reaper: runs whose executor fell silent, or is known to have ended, are retried or failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from sojourn.control_plane.engine.outcomes import Outcomes, executor_gone_error, out_of_memory_error, stalled_error
from sojourn.control_plane.store.records import Moved, Run
from sojourn.control_plane.store.runs import Runs
from sojourn.scheduler.placement.base import Cause, Ended
from sojourn.scheduler.service import Counts
from sojourn.sdk.protocol import SnapshotStatus

_AT_ONCE = 200


class Reaper:
    """`stop` ends an executor that fell silent: should it come back, its calls are refused all the same.

    `nodes` names the nodes of executors, by executor, as far as they are known.
    """

    name = "reaper"

    def __init__(
        self,
        runs: Runs,
        outcomes: Outcomes,
        stop: Callable[[str], None],
        *,
        lease: timedelta,
        seconds: float,
        nodes: Callable[[list[str]], Mapping[str, str]] = lambda _: {},
    ):
        self._runs = runs
        self._outcomes = outcomes
        self._stop = stop
        self._lease = lease
        self._seconds = seconds
        self._nodes = nodes
        self._more = False

    def run_once(self, now: datetime) -> Counts:
        lapsed = self._runs.lapsed(now, _AT_ONCE)
        self._more = len(lapsed) == _AT_ONCE
        executors = [run.executor_id for run in lapsed if run.executor_id]
        nodes = self._nodes(executors) if executors else {}
        reaped = 0
        for run in lapsed:
            waited = run.snapshot_status == SnapshotStatus.EXECUTING_WITH_WAITPOINTS
            error = stalled_error(self._lease.total_seconds(), nodes.get(run.executor_id or "", ""), waited=waited)
            if self._outcomes.lose(run, error, now, lapsed_by=now) is None:
                continue  # it has moved on, or beaten after all
            reaped += 1
            if run.executor_id:
                self._stop(run.executor_id)
        return {"reaped": reaped}

    def bury(self, ended: Iterable[Ended], now: datetime) -> int:
        """What executors had that are gone: no lease needs to lapse for those."""
        lost = 0
        for executor in ended:
            for run in self._runs.held_by(executor.executor):
                lost += self._bury(run, executor, now) is not None
        return lost

    def _bury(self, run: Run, executor: Ended, now: datetime) -> Moved | None:
        if executor.cause is Cause.UNPLACED:
            return self._outcomes.unplaced(run, executor.reason, now)
        if executor.exit_code == 0:
            # It left of its own accord, so it ran nothing: what it was given on its way out is not charged.
            return self._outcomes.take_back(run, now)
        if executor.cause is Cause.OUT_OF_MEMORY:
            return self._outcomes.lose(run, out_of_memory_error(executor.reason), now)
        return self._outcomes.lose(run, executor_gone_error(executor.reason), now)

    def interval(self, now: datetime) -> float:
        return 0 if self._more else self._seconds
