"""What is changed about a run that was triggered: when it starts, and whether its idempotency key still leads to it."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.engine.errors import EngineError, KeyNotHeld, NotDelayed, RunNotFound
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.runs import Move, Runs
from sojourn.sdk.protocol import RunStatus

#: A change that meets a moving run looks again this often.
_TRIES = 5


class Steering:
    """Each call names the snapshot that it has seen, so that it changes no run that has moved on."""

    def __init__(self, runs: Runs, index: Index):
        self._runs = runs
        self._index = index

    def reschedule(self, environment: Environment, run_id: str, start: datetime, now: datetime) -> Run:
        """A delayed run starts then instead. `RunNotFound`; `NotDelayed`, also for one that waits to try again."""
        for _ in range(_TRIES):
            run = self._runs.find(environment.id, run_id)
            if run is None:
                raise RunNotFound
            if run.status != RunStatus.DELAYED:
                raise NotDelayed(f"the run is {run.status}")
            changes = {"available_at": start, "delayed_until": start, "queued_at": start}
            if self._runs.move(Move(run.id, run.snapshot, Event.RESCHEDULE, now, changes=changes)):
                self._index.ring("stager")
                return self._runs.find(environment.id, run_id) or run
        raise EngineError("the run is on the move: try again")

    def reset_key(self, environment: Environment, task: str, key: str) -> None:
        """The next trigger with the key makes a run. `KeyNotHeld`."""
        if not self._runs.reset_idempotency_key(environment.id, task, key):
            raise KeyNotHeld
