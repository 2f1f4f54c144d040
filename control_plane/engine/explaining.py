"""Why a run waits: what the store and the queue say of it, brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sojourn.control_plane.domain.explaining import Cause, Line, Reason, Standing, causes
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.engine.errors import RunNotFound
from sojourn.control_plane.engine.indexing import WAITING, Index
from sojourn.control_plane.engine.limits import Limiting
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.queue.loads import Loads
from sojourn.control_plane.store.records import Environment, Run, Wait
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.waits import Waits

#: Of the waits that keep a run, so many are shown.
_MAX_WAITS = 200


@dataclass(frozen=True, slots=True)
class Explained:
    """A run and what keeps it; `waits` where it waits for waitpoints."""

    run: Run
    causes: list[Cause]
    waits: Sequence[Wait]


class Explaining:
    """Reads only; what it finds may be over when it is told."""

    def __init__(self, runs: Runs, waits: Waits, limiting: Limiting, loads: Loads, index: Index):
        self._runs = runs
        self._waits = waits
        self._limiting = limiting
        self._loads = loads
        self._index = index

    def why(self, environment: Environment, run_id: str, now: datetime) -> Explained:
        """What keeps a run. `RunNotFound`."""
        run = self._runs.find(environment.id, run_id)
        if run is None:
            raise RunNotFound
        limits = self._limiting.of(run.organization_id)
        line = self._line(run) if run.snapshot_status in WAITING else None
        found = causes(self._standing(run), limits, line, now)
        waits: Sequence[Wait] = ()
        if any(cause.reason is Reason.WAITPOINTS for cause in found):
            waits = self._waits.begun(run.id, _MAX_WAITS, run.wait_keys or ())
        return Explained(run, found, waits)

    def _line(self, run: Run) -> Line | None:
        try:
            return self._loads.of_run(run.organization_id, run.id)
        except NotReady:
            self._index.ring("sweeper")
            return None

    def _standing(self, run: Run) -> Standing:
        return Standing(
            status=run.snapshot_status,
            environment=run.environment_id,
            queue=run.queue,
            key=run.concurrency_key or "",
            attempt=run.attempt,
            available_at=run.available_at,
            told=self._told(run) if run.snapshot_status in WAITING else None,
            task=run.task,
        )

    def _told(self, run: Run) -> str | None:
        """What was said when the run came back to the queue, if that was the last that happened to it."""
        last = self._runs.history(run.id, after=run.snapshot - 1)
        return last[-1].description if last and last[-1].event == Event.REQUEUE else None
