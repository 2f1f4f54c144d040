"""Back-filling: the runs that a schedule would have made in a time that is past. Asked for again, it makes none twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sojourn.control_plane.domain import cron
from sojourn.control_plane.domain.timetable import Timetable
from sojourn.control_plane.engine.errors import QueueFull, ScheduleInvalid, ScheduleNotFound
from sojourn.control_plane.engine.scheduled_runs import in_order, requests
from sojourn.control_plane.engine.schedules import Schedules, timetable_of
from sojourn.control_plane.engine.triggering import Triggering
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Environment
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.schedules import Schedules as StoredSchedules

#: Ticks that one call fills in.
MOST_TICKS = 1_000
_AT_ONCE = 200
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Backfilled:
    """How many ticks there are in that time, and for how many a run was made now; the others had theirs."""

    ticks: int
    created: int


class Backfilling:
    """Runs of the past are made whatever the schedule's overlap policy says, and it does not count them."""

    def __init__(
        self,
        database: Database,
        schedules: Schedules,
        stored_schedules: StoredSchedules,
        runs: Runs,
        triggering: Triggering,
    ):
        self._database = database
        self._schedules = schedules
        self._stored_schedules = stored_schedules
        self._runs = runs
        self._triggering = triggering

    def backfill(
        self, environment: Environment, schedule_id: str, begin: datetime, end: datetime, now: datetime
    ) -> Backfilled:
        """Makes the runs from `begin` to `end`, both included. `ScheduleNotFound`, `ScheduleInvalid`, `QueueFull`."""
        schedule = self._schedules.find(environment, schedule_id)
        self._schedules.check_task(environment, schedule.task)
        table = timetable_of(schedule)
        ticks = _ticks(table, begin, end, now)
        asked = requests(schedule, table, ticks, None, source="backfill")
        documents = in_order([self._triggering.document(environment, request, now) for request in asked])
        created = 0
        for start in range(0, len(documents), _AT_ONCE):
            if self._triggering.room.is_full(environment.organization_id):
                counted = "there are as many runs as may be, with those that batches are to have"
                raise QueueFull(f"{counted}; {created} were made: send it again later")
            with self._database.transaction():
                if self._stored_schedules.lock_for_runs(environment.id, schedule.id) is None:
                    raise ScheduleNotFound
                stored = self._runs.insert(documents[start : start + _AT_ONCE])
            self._triggering.queue(stored.values(), now)
            created += len(stored)
        return Backfilled(len(ticks), created)


def _ticks(table: Timetable, begin: datetime, end: datetime, now: datetime) -> list[datetime]:
    if end > now:
        raise ScheduleInvalid("to: what is still to come is not filled in", field="to")
    if begin < _EARLIEST:
        raise ScheduleInvalid(f"from: it lies before {_EARLIEST.year}", field="from")
    if begin > end:
        raise ScheduleInvalid("to: it lies before `from`", field="to")
    found: list[datetime] = []
    for tick in cron.ticks(table.expression, table.zone, begin - timedelta(microseconds=1)):
        if tick > end:
            break
        if len(found) == MOST_TICKS:
            raise ScheduleInvalid(
                f"to: there are more than {MOST_TICKS} ticks; the first {MOST_TICKS} end with {found[-1].isoformat()}",
                field="to",
                next_step="fill in a shorter time, and then the next",
            )
        found.append(tick)
    return found
