"""Ticks of schedules become runs: once each, however many schedulers look, and wherever one of them is cut off.

Runs and where their schedules stand next are stored together, under the schedules' locks. That a tick is one run at most
is a rule of the store besides.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane import faults
from sojourn.control_plane.domain.timetable import CatchUp, Overlap, Plan, Standing, plan
from sojourn.control_plane.engine.cancelling import Cancelling
from sojourn.control_plane.engine.scheduled_runs import in_order, requests
from sojourn.control_plane.engine.schedules import timetable_of
from sojourn.control_plane.engine.triggering import Triggering
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Environment, Schedule
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.schedules import Living, NextLook, Ripe, Schedules, Stand
from sojourn.sdk.protocol import SnapshotStatus

log = logging.getLogger(__name__)

#: Runs that one look makes at most, and seconds that it thinks, for it holds locks; what is left over is due still.
_RUNS_AT_ONCE, _LONGEST_LOOK = 1_000, 2.0
#: Of a schedule's runs that are not over, so many are cancelled at a look.
_LIVING_AT_ONCE = 100
#: What cannot fire now is looked at again after so long: where too many runs wait, and where its timetable cannot be read.
_WHEN_FULL, _WHEN_BROKEN = timedelta(seconds=5), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Ticked:
    """How many schedules were looked at, and how many runs that made."""

    looked: int = 0
    fired: int = 0


class Ticking:
    """Each call is one bounded pass."""

    def __init__(
        self,
        database: Database,
        schedules: Schedules,
        runs: Runs,
        access: Access,
        triggering: Triggering,
        cancelling: Cancelling,
    ):
        self._database = database
        self._schedules = schedules
        self._runs = runs
        self._access = access
        self._triggering = triggering
        self._cancelling = cancelling

    def fire_due(self, now: datetime, limit: int) -> Ticked:
        """Makes the runs of schedules that are due."""
        self._schedules.let_go(now, limit)
        due = self._schedules.due(now, limit)
        if not due:
            return Ticked()
        with self._database.transaction():
            ripe = self._schedules.lock_ripe(due, now)
            living = self._living(ripe)
            stands, documents = self._decide(ripe, living, now)
            stored = self._runs.insert(documents) if documents else {}
            self._schedules.stand(stands, now)
            faults.point("ticking.before_commit")
        faults.point("ticking.after_store")
        self._triggering.queue(stored.values(), now)
        self._replace(ripe, stands, living, now)
        return Ticked(len(due), len(stored))

    def next_look(self) -> NextLook:
        """When the next schedule is to be looked at."""
        return self._schedules.next_look()

    def _living(self, ripe: Sequence[Ripe]) -> dict[str, list[Living]]:
        """Runs that are not over, of schedules that care."""
        asked = [each.schedule.id for each in ripe if each.schedule.overlap != Overlap.ALLOW]
        found: dict[str, list[Living]] = {}
        for run in self._schedules.living(asked, _LIVING_AT_ONCE) if asked else ():
            found.setdefault(run.schedule_id, []).append(run)
        return found

    def _decide(
        self, ripe: Sequence[Ripe], living: Mapping[str, Sequence[Living]], now: datetime
    ) -> tuple[list[Stand], list[dict[str, Any]]]:
        """Where the schedules stand next, and the runs that they make."""
        stands: list[Stand] = []
        documents: list[dict[str, Any]] = []
        until = time.monotonic() + _LONGEST_LOOK
        for each in ripe:
            if len(documents) >= _RUNS_AT_ONCE or (stands and time.monotonic() > until):
                break
            stand, made = self._look(each, each.schedule.id in living, now)
            stands.append(stand)
            documents += made
        return stands, documents

    def _look(self, ripe: Ripe, lives: bool, now: datetime) -> tuple[Stand, list[dict[str, Any]]]:
        schedule = ripe.schedule
        if self._triggering.room.is_full(schedule.organization_id):
            return Stand(schedule.id, schedule.next_tick, now + _WHEN_FULL, schedule.held, None), []
        try:
            table = timetable_of(schedule)
        except ValueError as error:
            log.warning("%s has no timetable any more: %s", schedule.id, error)
            return Stand(schedule.id, schedule.next_tick, now + _WHEN_BROKEN, False, None), []
        planned = plan(table, _standing(schedule, lives), now)
        fires = planned.fires if ripe.deployed else ()
        environment = self._environment(schedule, now)
        asked = requests(schedule, table, fires, schedule.last_tick, source="schedule")
        documents = in_order([self._triggering.document(environment, each, now) for each in asked])
        return _stand(schedule, planned, fires), documents

    def _replace(
        self, ripe: Sequence[Ripe], stands: Sequence[Stand], living: Mapping[str, Sequence[Living]], now: datetime
    ) -> None:
        """Cancels what stands in the way of a tick that is to replace it; a later look finds it gone, or tries again."""
        held = {stand.id for stand in stands if stand.held}
        for each in ripe:
            if each.schedule.id in held and each.schedule.overlap == Overlap.REPLACE and each.deployed:
                environment = self._environment(each.schedule, now)
                for run in living.get(each.schedule.id, ()):
                    if run.snapshot_status != SnapshotStatus.PENDING_CANCEL:
                        self._cancelling.cancel_first(environment, run.id, "the next tick of its schedule replaces it", now)

    def _environment(self, schedule: Schedule, now: datetime) -> Environment:
        found = self._access.environment(schedule.environment_id, now)
        assert found is not None  # a schedule refers to it
        return found


def _standing(schedule: Schedule, lives: bool) -> Standing:
    assert schedule.next_tick is not None
    return Standing(schedule.next_tick, Overlap(schedule.overlap), CatchUp(schedule.catch_up), schedule.held, lives)


def _stand(schedule: Schedule, planned: Plan, fires: Sequence[datetime]) -> Stand:
    return Stand(schedule.id, planned.next_tick, planned.due, planned.held, fires[-1] if fires else None)
