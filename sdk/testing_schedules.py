"""Schedules in a test: those that tasks declare and those that code makes. They fire by the test's clock, or when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Protocol

from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.registry import Registry
from sojourn.sdk.schedule import Schedule
from sojourn.sdk.testing_http import Row, body_of
from sojourn.sdk.testing_refusal import Refused, page_numbers

_UPCOMING, _MOST_TICKS = 5, 1_000


class _Cron(Protocol):
    """How the platform counts ticks."""

    def parse(self, text: str) -> Any: ...
    def zone(self, name: str) -> Any: ...
    def zones(self) -> list[str]: ...
    def next_after(self, expression: Any, where: Any, moment: datetime) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Firing:
    """A run that a schedule asks for."""

    schedule: str
    task: str
    payload: dict[str, Any]


@dataclass(slots=True)
class _Schedule:
    """One schedule. `wanted`: as the API was told; `next`: its next tick; `ticks`: those that became runs."""

    id: str
    type: str
    key: str | None
    wanted: dict[str, Any]
    active: bool = True
    next: datetime | None = None
    ticks: set[datetime] = field(default_factory=set)

    @property
    def last(self) -> datetime | None:
        return max(self.ticks, default=None)

    @property
    def zone(self) -> str:
        return str(self.wanted.get("timezone") or "UTC")

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment."""
        cron = _cron()
        return cron.next_after(cron.parse(self.wanted["cron"]), cron.zone(self.zone), moment)

    def place(self, now: datetime) -> None:
        """It stands before the first tick after that moment; one that is switched off has none."""
        self.next = self.after(now) if self.active else None


class ScheduleBook:
    """Every schedule of a test's platform."""

    def __init__(self, known: Registry, now: Callable[[], datetime]):
        self._known, self._now = known, now
        self._schedules: dict[str, _Schedule] = {}
        #: Declared for other environments than a test's: they fire when they are told to, and are on no list.
        self._others: dict[str, _Schedule] = {}
        self._count = 0

    def routes(self) -> list[Row]:
        """What can be asked of them, but for what makes runs."""
        one = "/api/v1/schedules/([^/]+)"
        return [
            ("GET", "/api/v1/timezones", lambda _, query: self.timezones(query)),
            ("GET", "/api/v1/schedules", lambda _, query: self.page(query)),
            ("POST", "/api/v1/schedules", lambda request, _: self.create(body_of(request))),
            ("GET", one, lambda schedule, *_: self.retrieve(schedule)),
            ("PUT", one, lambda schedule, request, _: self.update(schedule, body_of(request))),
            ("DELETE", one, lambda schedule, *_: self.delete(schedule)),
            ("POST", f"{one}/activate", lambda schedule, *_: self.switch(schedule, True)),
            ("POST", f"{one}/deactivate", lambda schedule, *_: self.switch(schedule, False)),
        ]

    # --- time

    def next(self) -> datetime | None:
        """When the next tick of all is due."""
        return min((each.next for each in self._declared() if each.next is not None), default=None)

    def due(self) -> list[Firing]:
        """What fires by now; each schedule then stands before its next tick."""
        fired = []
        for each in self._declared():
            if each.next is not None and each.next <= self._now():
                tick, each.next = each.next, each.after(each.next)
                fired.append(self._fired(each, tick))
        return fired

    def fire(self, named: str) -> Firing:
        """The run of a tick that is now, by the schedule's id or by the task that declares it."""
        declared = {each.wanted["task"]: each for each in self._declared() if each.type == "DECLARATIVE"}
        found = self._schedules.get(named) or declared.get(named) or self._elsewhere(named)
        if found is None:
            raise ConfigurationError(f"there is no schedule {named!r}: give what schedules.create gave, or a task with one")
        return self._fired(found, self._now())

    # --- the API's calls

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new schedule, or the one that its key leads to, changed."""
        wanted = {name: value for name, value in body.items() if name != "deduplicationKey"}
        self._check(wanted)
        key = body["deduplicationKey"]
        found = next((each for each in self._schedules.values() if each.key == key), None)
        return self._changed(found or self._add("IMPERATIVE", key, wanted), wanted)

    def update(self, schedule_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The schedule becomes what is asked for."""
        found = self._changeable(schedule_id)
        self._check(body)
        return self._changed(found, dict(body))

    def delete(self, schedule_id: str) -> dict[str, Any]:
        """Deletes a schedule."""
        del self._schedules[self._changeable(schedule_id).id]
        return {"id": schedule_id}

    def switch(self, schedule_id: str, active: bool) -> dict[str, Any]:
        """It fires, or does so no longer."""
        found = self._find(schedule_id)
        if found.active != active:
            found.active = active
            found.place(self._now())
        return self._shown(found)

    def retrieve(self, schedule_id: str) -> dict[str, Any]:
        """A schedule."""
        return self._shown(self._find(schedule_id))

    def page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of schedules, the newest first."""
        found = self._declared()[::-1]
        number, size = int(query.get("page", 1)), min(int(query.get("perPage", 25)), 100)
        shown = [self._shown(each) for each in found[(number - 1) * size : number * size]]
        return {"data": shown, "pagination": page_numbers(number, size, len(found))}

    def backfill(self, schedule_id: str, body: Mapping[str, Any]) -> tuple[int, list[Firing]]:
        """How many ticks there are in a time that is past, and the runs of those that had none."""
        found = self._find(schedule_id)
        begin, end = (datetime.fromisoformat(body[name]).astimezone(UTC) for name in ("from", "to"))
        if end > self._now():
            raise Refused(422, "SCHEDULE_INVALID", "to: what is still to come is not filled in", "to")
        ticks: list[datetime] = []
        tick = found.after(begin - timedelta(microseconds=1))
        while tick is not None and tick <= end:
            ticks.append(tick)
            if len(ticks) > _MOST_TICKS:
                raise Refused(422, "SCHEDULE_INVALID", f"to: there are more than {_MOST_TICKS} ticks", "to")
            tick = found.after(tick)
        return len(ticks), [self._fired(found, tick) for tick in ticks if tick not in found.ticks]

    @staticmethod
    def timezones(query: Mapping[str, str]) -> dict[str, Any]:
        """The zones that schedules can have."""
        names = _cron().zones()
        return {"timezones": names[1:] if query.get("excludeUtc") == "true" else names}

    # --- inside

    def _declared(self) -> list[_Schedule]:
        """All, with those that the tasks declare which are imported by now."""
        there = {each.wanted["task"] for each in self._schedules.values() if each.type == "DECLARATIVE"}
        for task in self._known.tasks.values():
            declared = task.schedule
            if declared is None or task.id in there or "development" not in (declared.environments or ("development",)):
                continue
            self._add("DECLARATIVE", None, _wanted(task.id, declared)).place(self._now())
        return list(self._schedules.values())

    def _elsewhere(self, task_id: str) -> _Schedule | None:
        """The schedule that a task declares for other environments."""
        task = self._known.tasks.get(task_id)
        if task is None or task.schedule is None:
            return None
        if task_id not in self._others:
            self._others[task_id] = self._made("DECLARATIVE", None, _wanted(task_id, task.schedule))
        return self._others[task_id]

    def _add(self, kind: str, key: str | None, wanted: dict[str, Any]) -> _Schedule:
        made = self._made(kind, key, wanted)
        self._schedules[made.id] = made
        return made

    def _made(self, kind: str, key: str | None, wanted: dict[str, Any]) -> _Schedule:
        self._count += 1
        return _Schedule(f"sched_test{self._count}", kind, key, wanted)

    def _changed(self, schedule: _Schedule, wanted: dict[str, Any]) -> dict[str, Any]:
        schedule.wanted = wanted
        schedule.place(self._now())
        return self._shown(schedule)

    def _find(self, schedule_id: str) -> _Schedule:
        self._declared()
        if schedule_id not in self._schedules:
            raise Refused(404, "SCHEDULE_NOT_FOUND", "There is no such schedule in this environment.")
        return self._schedules[schedule_id]

    def _changeable(self, schedule_id: str) -> _Schedule:
        found = self._find(schedule_id)
        if found.type == "DECLARATIVE":
            raise Refused(422, "SCHEDULE_DECLARED", "The schedule is declared by deployed code.")
        return found

    def _check(self, wanted: Mapping[str, Any]) -> None:
        from sojourn.control_plane.domain import timetable

        cron = _cron()
        for name, read in (("cron", cron.parse), ("timezone", cron.zone), ("window", timetable.window)):
            try:
                if wanted.get(name) is not None:
                    read(wanted[name])
            except ValueError as error:
                raise Refused(422, "SCHEDULE_INVALID", f"{name}: {error}", name) from None
        if wanted["task"] not in self._known.tasks:
            raise Refused(422, "SCHEDULE_INVALID", f"no task {wanted['task']!r} was imported", "task")

    def _fired(self, schedule: _Schedule, tick: datetime) -> Firing:
        earlier = max((each for each in schedule.ticks if each < tick), default=None)
        schedule.ticks.add(tick)
        upcoming: list[datetime] = []
        while len(upcoming) < _UPCOMING and (found := schedule.after(upcoming[-1] if upcoming else tick)) is not None:
            upcoming.append(found)
        payload: dict[str, Any] = {"scheduleId": schedule.id, "type": schedule.type, "timestamp": _text(tick)}
        if earlier is not None:
            payload["lastTimestamp"] = _text(earlier)
        if schedule.wanted.get("externalId") is not None:
            payload["externalId"] = schedule.wanted["externalId"]
        payload |= {"timezone": schedule.zone, "upcoming": [_text(each) for each in upcoming]}
        return Firing(schedule.id, schedule.wanted["task"], payload)

    def _shown(self, schedule: _Schedule) -> dict[str, Any]:
        wanted, following = schedule.wanted, schedule.next and _text(schedule.next)
        wire = {
            "id": schedule.id,
            "type": schedule.type,
            "task": wanted["task"],
            "active": schedule.active,
            "deduplicationKey": schedule.key,
            "externalId": wanted.get("externalId"),
            "generator": {"type": "CRON", "expression": wanted["cron"], "description": _described(wanted["cron"])},
            "timezone": schedule.zone,
            "window": wanted.get("window"),
            "overlap": wanted.get("overlap") or "allow",
            "catchUp": wanted.get("catchUp") or "last",
            "nextRun": following,
            "nextRunEffectiveAt": following,
            "lastRun": schedule.last and _text(schedule.last),
            "environments": [{"id": "env_test", "type": "DEVELOPMENT"}],
        }
        return {name: value for name, value in wire.items() if value is not None}


def _wanted(task_id: str, declared: Schedule) -> dict[str, Any]:
    """What a task declares, as the API would be told."""
    return {"task": task_id} | {name: value for name, value in declared.to_wire().items() if name != "environments"}


@cache
def _cron() -> _Cron:
    """The platform's own, which needs croniter, as nothing else of an SDK does."""
    try:
        from sojourn.control_plane.domain import cron
    except ImportError as error:
        raise ConfigurationError(f"schedules in a test need {error.name}: pip install 'sojourn[testing]'") from None
    return cron


def _described(expression: str) -> str:
    from sojourn.control_plane.domain import cron_words

    return cron_words.describe(_cron().parse(expression))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
