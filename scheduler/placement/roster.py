"""The living executors of one cluster: the store's rows, and in memory what Nomad has told of them since.

A change goes to the store first, which compares; memory follows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.records import Executor
from sojourn.nomad_jobs.reconciler import Bind, End, Ending, Recorded
from sojourn.scheduler.placement.base import CannotPlace, Cause, Closed
from sojourn.scheduler.placement.closings import Closings

_CAUSES = {
    Ending.EXITED: Cause.EXITED,
    Ending.OUT_OF_MEMORY: Cause.OUT_OF_MEMORY,
    Ending.LOST: Cause.LOST,
    Ending.NOT_STARTED: Cause.NOT_STARTED,
    Ending.NO_NODE: Cause.UNPLACED,
    Ending.FULL: Cause.UNPLACED,
}


@dataclass(frozen=True, slots=True)
class Known:
    """A living executor. `is_placing`: its dispatch is under way. `is_stopping`: its job is to be deregistered.

    `lost_since`: when Nomad first told that its node is lost, on this process' monotonic clock.
    """

    row: Executor
    is_running: bool = False
    is_placing: bool = False
    is_stopping: bool = False
    lost_since: float | None = None


class Roster:
    """Safe to be used by several threads. `closings`: the cluster's, which ends close and open. `clock`: the store's.

    `lost`: seconds that an executor may go on on a node that is lost to Nomad. `on_change` is called, from whatever thread,
    when one ended or came to run; it does not raise.
    """

    def __init__(
        self,
        executors: Executors,
        cluster: str,
        closings: Closings,
        *,
        lost: float,
        clock: Callable[[], datetime],
        on_change: Callable[[], None],
    ):
        self._executors = executors
        self._cluster = cluster
        self._closings = closings
        self._lost = lost
        self._clock = clock
        self._on_change = on_change
        self._changed = threading.Condition()
        self._living: dict[str, Known] = {}
        self._is_closed = False
        self.load()

    def load(self) -> None:
        """Every living executor of the store, those of a scheduler that died included."""
        with self._changed:
            rows = self._executors.living(self._cluster)
            before, self._living = self._living, {}
            for row in rows:
                known = before.get(row.id) or Known(row)
                is_running = known.is_running or row.running_at is not None
                self._living[row.id] = replace(known, row=row, is_running=is_running)
            for name, known in before.items():
                if known.is_placing and name not in self._living:  # it is about to be written down
                    self._living[name] = known
            self._changed.notify_all()

    # --- who is there

    def living(self) -> dict[str, Known]:
        """Those that live, as they are known now, by their ids."""
        with self._changed:
            return dict(self._living)

    def room(self, places: int, submissions: int) -> int:
        """How many more may enter, of `places` and of `submissions` that do not run yet; 0 once it is closed."""
        with self._changed:
            if self._is_closed:
                return 0
            waiting = sum(not known.is_running for known in self._living.values())
            return max(min(places - len(self._living), submissions - waiting), 0)

    def recorded(self, executor: str) -> Recorded | None:
        """What is known of an executor; those that live are in memory. None for one that is not of this cluster."""
        with self._changed:
            known = self._living.get(executor)
        row = known.row if known is not None else self._executors.find(executor)
        if row is None or row.cluster != self._cluster:
            return None
        since = known.lost_since if known is not None else None
        is_given_up = since is not None and time.monotonic() - since > self._lost
        if is_given_up and self._executors.beats(row.id, self._clock()):
            is_given_up = False  # only Nomad has lost it
        # Who was admitted before the cluster told of it is bound already, but where it runs is not known.
        return Recorded(row.id, row.allocation_id if row.node_id else None, row.ended_at is not None, is_given_up)

    # --- coming

    def enter(self, row: Executor, places: int) -> bool:
        """One is about to be placed, until `placed`; false if it is there already. `CannotPlace` when there is no room."""
        with self._changed:
            if row.id in self._living:
                return False
            if self._is_closed:
                raise CannotPlace("the scheduler is stopping")
            if len(self._living) >= places:
                raise CannotPlace(f"all {places} places are taken")
            self._living[row.id] = Known(row, is_placing=True)
            return True

    def write_down(self, row: Executor) -> bool:
        """One that has entered; false if an earlier scheduler came as far: what the store and Nomad have of it counts."""
        try:
            is_new = self._executors.insert(row)
        except BaseException:
            self.strike(row.id)
            raise
        if not is_new:
            self.load()
        return is_new

    def placed(self, executor: str) -> None:
        """Its dispatch is over, whatever came of it."""
        self._change(executor, is_placing=False)

    def dispatched(self, executor: str, child: str) -> None:
        """Its child job is known."""
        self._executors.dispatched(executor, child)
        with self._changed:
            known = self._living.get(executor)
            if known is not None and not known.row.child_job_id:
                self._living[executor] = replace(known, row=replace(known.row, child_job_id=child))

    def bind(self, told: Bind) -> bool:
        """An allocation is the executor; false if another is."""
        is_bound = self._executors.bind(
            told.executor,
            child_job_id=told.job,
            allocation_id=told.allocation,
            node_id=told.node,
            node_name=told.node_name,
        )
        row = self._executors.find(told.executor) if is_bound else None
        if row is not None:
            self._change(told.executor, row=row)
        return is_bound

    def running(self, executor: str) -> None:
        """Its task was started."""
        with self._changed:
            known = self._living.get(executor)
            if known is None:
                return
            self._living[executor] = replace(known, is_running=True, lost_since=None)
        if known.is_running:
            return
        self._executors.running(executor, self._clock())
        self._closings.open(known.row.lane)
        self._on_change()

    # --- going

    def doubt(self, executor: str) -> None:
        """Its node is lost to Nomad."""
        with self._changed:
            known = self._living.get(executor)
            if known is not None and known.lost_since is None:
                self._living[executor] = replace(known, lost_since=time.monotonic())

    def stopping(self, executor: str) -> bool:
        """It is to be stopped; false if that is known. One that is not known here may be known to the store."""
        with self._changed:
            known = self._living.get(executor)
            if known is None:
                return True
            self._living[executor] = replace(known, is_stopping=True)
            return not known.is_stopping

    def end(self, told: End) -> None:
        """It is gone."""
        now, cause = self._clock(), _CAUSES[told.why]
        with self._changed:
            known = self._living.get(told.executor)
        if known is not None and cause in (Cause.UNPLACED, Cause.NOT_STARTED):
            self._closings.close(known.row.lane, Closed(told.reason, is_full=told.why is Ending.FULL))
        else:
            self._closings.room()
        self._executors.end(told.executor, now, exit_code=told.exit_code, cause=cause, reason=told.reason)
        self.strike(told.executor)
        self._on_change()

    def strike(self, executor: str) -> None:
        """Whatever the store has of it, it is not among the living."""
        with self._changed:
            self._living.pop(executor, None)
            self._changed.notify_all()

    def close(self) -> list[str]:
        """Nobody enters any more; those that live."""
        with self._changed:
            self._is_closed = True
            return list(self._living)

    def wait_until_empty(self, seconds: float) -> None:
        """Until nobody lives; `seconds` at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._living, seconds)

    def _change(self, executor: str, **changes: Any) -> None:
        with self._changed:
            known = self._living.get(executor)
            if known is not None:
                self._living[executor] = replace(known, **changes)
