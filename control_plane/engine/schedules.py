"""Schedules as users see them: made, changed, switched on and off, deleted; and declared by what is deployed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sojourn.control_plane.domain import cron, ids, timetable
from sojourn.control_plane.domain.timetable import CatchUp, Overlap, Timetable
from sojourn.control_plane.engine.errors import EngineError, ScheduleDeclared, ScheduleInvalid, ScheduleNotFound
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.records import Environment, Schedule, Task
from sojourn.control_plane.store.schedules import Schedules as StoredSchedules
from sojourn.control_plane.store.versions import Versions

PREFIX = "sched"
#: A key may be released and taken again by others, while this one looks whom it leads to.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """What a schedule is to be. `window`: over how long its ticks are spread; None is not at all."""

    task: str
    cron: str
    timezone: str = "UTC"
    window: str | None = None
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.LAST
    external_id: str | None = None


def timetable_of(schedule: Schedule) -> Timetable:
    """When a stored schedule fires."""
    return timetable.timetable(schedule.cron, schedule.timezone, schedule.time_window, schedule.phase)


class Schedules:
    """`secret` decides each schedule's place in its window."""

    def __init__(
        self,
        database: Database,
        schedules: StoredSchedules,
        versions: Versions,
        index: Index,
        secret: bytes,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._database = database
        self._schedules = schedules
        self._versions = versions
        self._index = index
        self._secret = secret
        self._random = random

    def find(self, environment: Environment, schedule_id: str) -> Schedule:
        """A schedule. `ScheduleNotFound`."""
        return _there(self._schedules.find(environment.id, _id(schedule_id)))

    def page(self, environment: Environment, number: int, size: int) -> tuple[list[Schedule], int]:
        """A page of schedules, the newest first, and how many there are in all."""
        return self._schedules.page(environment.id, (number - 1) * size, size)

    def create(self, environment: Environment, key: str, request: ScheduleRequest, now: datetime) -> Schedule:
        """A new schedule, or the one that the key leads to, which becomes what is asked for. `ScheduleInvalid`."""
        self._check(environment, request)
        made = self._new(environment, request, "IMPERATIVE", key, now)
        for _ in range(_TRIES):
            if self._schedules.insert([made]):
                break
            with self._database.transaction():
                there = self._schedules.lock_by_key(environment.id, key)
                if there is not None:
                    made = self._save(changed(there, request, now))
                    break
        else:
            raise EngineError("the schedule could not be stored: try again")
        self._index.ring("ticker")
        return made

    def update(self, environment: Environment, schedule_id: str, request: ScheduleRequest, now: datetime) -> Schedule:
        """The schedule becomes what is asked for. `ScheduleNotFound`, `ScheduleDeclared`, `ScheduleInvalid`."""
        _not_declared(self.find(environment, schedule_id))
        self._check(environment, request)
        with self._database.transaction():
            saved = self._save(changed(_there(self._schedules.lock(environment.id, schedule_id)), request, now))
        self._index.ring("ticker")
        return saved

    def switch(self, environment: Environment, schedule_id: str, active: bool, now: datetime) -> Schedule:
        """Switches a schedule on, from the next tick on, or off; one that is so stays as it is. `ScheduleNotFound`."""
        with self._database.transaction():
            there = _there(self._schedules.lock(environment.id, _id(schedule_id)))
            if there.active == active:
                return there
            saved = self._save(placed(replace(there, active=active, updated_at=now), now))
        self._index.ring("ticker")
        return saved

    def delete(self, environment: Environment, schedule_id: str) -> None:
        """Deletes a schedule; its runs stay. `ScheduleNotFound`, `ScheduleDeclared`."""
        _not_declared(self.find(environment, schedule_id))
        self._schedules.delete(environment.id, [schedule_id])

    def declare(self, environment: Environment, tasks: Sequence[Task], now: datetime) -> None:
        """Inside the transaction of a deployment: what its tasks declare is made, changed, or deleted.

        One that was switched off stays so; one that has not changed keeps its next tick.
        """
        wanted = {task.slug: _declared(task) for task in tasks if _declares(task, environment)}
        there = self._schedules.lock_declared(environment.id)
        self._schedules.delete(environment.id, [each.id for task, each in there.items() if task not in wanted])
        self._schedules.save([changed(each, wanted[task], now) for task, each in there.items() if task in wanted])
        self._schedules.insert(
            [self._new(environment, wanted[task], "DECLARATIVE", None, now) for task in wanted if task not in there]
        )

    def check_task(self, environment: Environment, task: str) -> None:
        """`ScheduleInvalid` for a task that the current version does not have."""
        current = self._versions.current(environment.id)
        if current is None or self._versions.task(current.id, task) is None:
            raise ScheduleInvalid(
                f"the current version has no task {task[:80]!r}", field="task", next_step="deploy it first"
            )

    def _check(self, environment: Environment, request: ScheduleRequest) -> None:
        check(request)
        self.check_task(environment, request.task)

    def _save(self, schedule: Schedule) -> Schedule:
        self._schedules.save([schedule])
        return schedule

    def _new(
        self, environment: Environment, request: ScheduleRequest, kind: str, key: str | None, now: datetime
    ) -> Schedule:
        place = timetable.phase(self._secret, environment.id, request.task if key is None else key)
        made = Schedule(
            id=ids.make(PREFIX, now, self._random(ids.RANDOM_BYTES)),
            organization_id=environment.organization_id,
            environment_id=environment.id,
            type=kind,
            task=request.task,
            cron=request.cron,
            timezone=request.timezone,
            time_window=request.window,
            phase=place,
            overlap=request.overlap,
            catch_up=request.catch_up,
            external_id=request.external_id,
            deduplication_key=key,
            active=True,
            next_tick=None,
            due_at=None,
            held=False,
            last_tick=None,
            created_at=now,
            updated_at=now,
        )
        return placed(made, now)


def check(request: ScheduleRequest) -> None:
    """`ScheduleInvalid` names what cannot be used."""
    for field, read, text in (
        ("cron", cron.parse, request.cron),
        ("timezone", cron.zone, request.timezone),
        ("window", timetable.window, request.window),
    ):
        try:
            if text is not None:
                read(text)
        except ValueError as error:
            raise ScheduleInvalid(f"{field}: {error}", field=field) from None


def changed(there: Schedule, request: ScheduleRequest, now: datetime) -> Schedule:
    """A schedule as it is asked for. Its next tick is looked for anew if its timetable is another one.

    A tick that is held back is looked at now if what is to be made of it is something else.
    """
    asked = replace(
        there,
        task=request.task,
        cron=request.cron,
        timezone=request.timezone,
        time_window=request.window,
        overlap=request.overlap,
        catch_up=request.catch_up,
        external_id=request.external_id,
    )
    if asked == there:
        return there
    asked = replace(asked, updated_at=now)
    if (asked.cron, asked.timezone, asked.time_window) == (there.cron, there.timezone, there.time_window):
        is_free = there.held and asked.overlap != there.overlap
        return replace(asked, due_at=now) if is_free else asked
    return placed(asked, now)


def placed(schedule: Schedule, now: datetime) -> Schedule:
    """A schedule before the first tick after a moment; one that is switched off has none."""
    table = timetable_of(schedule)
    tick = table.after(now) if schedule.active else None
    return replace(schedule, next_tick=tick, due_at=None if tick is None else table.due(tick), held=False)


def _declares(task: Task, environment: Environment) -> bool:
    if task.schedule is None:
        return False
    kinds = task.schedule.get("environments")
    return kinds is None or environment.type in kinds


def _declared(task: Task) -> ScheduleRequest:
    given: Mapping[str, Any] = task.schedule or {}
    return ScheduleRequest(
        task=task.slug,
        cron=given["cron"],
        timezone=given.get("timezone", "UTC"),
        window=given.get("window"),
        overlap=Overlap(given.get("overlap", Overlap.ALLOW)),
        catch_up=CatchUp(given.get("catchUp", CatchUp.LAST)),
    )


def _id(text: str) -> str:
    if not ids.is_id(text, PREFIX):
        raise ScheduleNotFound
    return text


def _there(found: Schedule | None) -> Schedule:
    if found is None:
        raise ScheduleNotFound
    return found


def _not_declared(schedule: Schedule) -> None:
    if schedule.type == "DECLARATIVE":
        raise ScheduleDeclared
