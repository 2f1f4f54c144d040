"""Schedules: made, listed, changed, switched on and off, filled in for the past; and the zones they can have."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.models.schedules import BackfillBody, NewScheduleBody, ScheduleBody
from sojourn.control_plane.api.present import schedules as present
from sojourn.control_plane.api.present.lists import numbers
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain import cron, duration
from sojourn.control_plane.domain.scopes import Resource
from sojourn.control_plane.domain.timetable import CatchUp, Overlap
from sojourn.control_plane.engine.backfilling import Backfilling
from sojourn.control_plane.engine.schedules import ScheduleRequest
from sojourn.control_plane.engine.schedules import Schedules as ScheduleCases

_LARGEST_PAGE = 100


class Schedules:
    """What can be done with schedules."""

    def __init__(self, schedules: ScheduleCases, backfilling: Backfilling):
        self._schedules = schedules
        self._backfilling = backfilling

    def create(self, call: Call) -> dict[str, Any]:
        """A new schedule, or the one that its key leads to, changed."""
        body: NewScheduleBody = call.body
        _require_trigger(call, body.task)
        made = self._schedules.create(call.environment, body.deduplicationKey, schedule_request(body), call.now)
        return present.schedule(made, call.environment)

    def page(self, call: Call) -> dict[str, Any]:
        """A page of schedules, newest first."""
        number, size = call.query.page, min(call.query.per_page, _LARGEST_PAGE)
        found, count = self._schedules.page(call.environment, number, size)
        return {
            "data": [present.schedule(schedule, call.environment) for schedule in found],
            "pagination": numbers(number, size, count),
        }

    def retrieve(self, call: Call, schedule: str) -> dict[str, Any]:
        """A schedule."""
        return present.schedule(self._schedules.find(call.environment, schedule), call.environment)

    def update(self, call: Call, schedule: str) -> dict[str, Any]:
        """The schedule becomes what is asked for."""
        _require_trigger(call, call.body.task)
        changed = self._schedules.update(call.environment, schedule, schedule_request(call.body), call.now)
        return present.schedule(changed, call.environment)

    def delete(self, call: Call, schedule: str) -> dict[str, Any]:
        """Deletes a schedule; its runs stay."""
        self._schedules.delete(call.environment, schedule)
        return {"id": schedule}

    def activate(self, call: Call, schedule: str) -> dict[str, Any]:
        """The schedule fires from its next tick on."""
        return present.schedule(self._schedules.switch(call.environment, schedule, True, call.now), call.environment)

    def deactivate(self, call: Call, schedule: str) -> dict[str, Any]:
        """The schedule fires no longer."""
        return present.schedule(self._schedules.switch(call.environment, schedule, False, call.now), call.environment)

    def backfill(self, call: Call, schedule: str) -> dict[str, Any]:
        """Makes the runs of a time that is past."""
        body: BackfillBody = call.body
        begin, end = _date(body.begin, "from"), _date(body.end, "to")
        _require_trigger(call, self._schedules.find(call.environment, schedule).task)
        filled = self._backfilling.backfill(call.environment, schedule, begin, end, call.now)
        return {"ticks": filled.ticks, "created": filled.created}

    def timezones(self, call: Call) -> dict[str, Any]:
        """The zones that schedules can have."""
        names = cron.zones()
        return {"timezones": names[1:] if call.query.excludeUtc == "true" else names}


def schedule_request(body: ScheduleBody) -> ScheduleRequest:
    """What a body asks for."""
    return ScheduleRequest(
        task=body.task,
        cron=body.cron,
        timezone=body.timezone or "UTC",
        window=body.window,
        overlap=Overlap(body.overlap or Overlap.ALLOW),
        catch_up=CatchUp(body.catchUp or CatchUp.LAST),
        external_id=body.externalId,
    )


def _require_trigger(call: Call, task: str) -> None:
    """A schedule triggers in the name of whoever made it so."""
    call.require("trigger", Resource("tasks", task))


def _date(text: str, field: str) -> datetime:
    try:
        return duration.date(text)
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"{field}: {error}", field=field) from None
