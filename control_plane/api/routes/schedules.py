"""Where schedules are kept."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.lists import NumberedPageQuery
from sojourn.control_plane.api.models.schedules import (
    BackfillBody,
    BackfilledReply,
    NewScheduleBody,
    ScheduleBody,
    ScheduleReply,
    SchedulesReply,
    TimezonesQuery,
    TimezonesReply,
)
from sojourn.control_plane.api.models.shape import IdReply, Nothing
from sojourn.control_plane.api.routes.route import Route

_SCHEDULE = ("SCHEDULE_NOT_FOUND",)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/api/v1/schedules",
        "schedules.create",
        Caller.ENVIRONMENT,
        "Create a schedule, or change the one that the key leads to",
        ScheduleReply,
        body=NewScheduleBody,
        codes=("SCHEDULE_INVALID", "ENGINE_ERROR"),
        needs=needs.CREATE_SCHEDULE,
    ),
    Route(
        "GET",
        "/api/v1/schedules",
        "schedules.page",
        Caller.ENVIRONMENT,
        "List schedules, newest first",
        SchedulesReply,
        query=NumberedPageQuery,
        needs=needs.LIST_SCHEDULES,
    ),
    Route(
        "GET",
        "/api/v1/schedules/{schedule}",
        "schedules.retrieve",
        Caller.ENVIRONMENT,
        "Retrieve a schedule",
        ScheduleReply,
        codes=_SCHEDULE,
        needs=needs.READ_SCHEDULE,
    ),
    Route(
        "PUT",
        "/api/v1/schedules/{schedule}",
        "schedules.update",
        Caller.ENVIRONMENT,
        "Change a schedule",
        ScheduleReply,
        body=ScheduleBody,
        codes=(*_SCHEDULE, "SCHEDULE_INVALID", "SCHEDULE_DECLARED"),
        needs=needs.CHANGE_SCHEDULE,
    ),
    Route(
        "DELETE",
        "/api/v1/schedules/{schedule}",
        "schedules.delete",
        Caller.ENVIRONMENT,
        "Delete a schedule; its runs stay",
        IdReply,
        codes=(*_SCHEDULE, "SCHEDULE_DECLARED"),
        needs=needs.WRITE_SCHEDULE,
    ),
    Route(
        "POST",
        "/api/v1/schedules/{schedule}/activate",
        "schedules.activate",
        Caller.ENVIRONMENT,
        "Let a schedule fire, from its next tick on",
        ScheduleReply,
        body=Nothing,
        codes=_SCHEDULE,
        needs=needs.WRITE_SCHEDULE,
    ),
    Route(
        "POST",
        "/api/v1/schedules/{schedule}/deactivate",
        "schedules.deactivate",
        Caller.ENVIRONMENT,
        "Let a schedule fire no longer",
        ScheduleReply,
        body=Nothing,
        codes=_SCHEDULE,
        needs=needs.WRITE_SCHEDULE,
    ),
    Route(
        "POST",
        "/api/v1/schedules/{schedule}/backfill",
        "schedules.backfill",
        Caller.ENVIRONMENT,
        "Make the runs of a time that is past, once each however often it is asked for",
        BackfilledReply,
        body=BackfillBody,
        codes=(*_SCHEDULE, "SCHEDULE_INVALID", "QUEUE_FULL"),
        needs=needs.CHANGE_SCHEDULE,
    ),
    Route(
        "GET",
        "/api/v1/timezones",
        "schedules.timezones",
        Caller.ANYONE,
        "The time zones that schedules can have",
        TimezonesReply,
        query=TimezonesQuery,
    ),
)
