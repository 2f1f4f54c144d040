"""Schedules, and the runs that are made for a time that is past."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.lists import NumberedPages
from sojourn.control_plane.api.models.runs import ScheduleGenerator
from sojourn.control_plane.api.models.shape import Query, Reply, Strict
from sojourn.control_plane.api.models.texts import IDENTIFIER, Date, Key, TaskId, identifier

_Cron = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(identifier), patterns.CRON]
_Zone = Annotated[str, StringConstraints(min_length=1, max_length=64), IDENTIFIER]
_Window = Annotated[str, StringConstraints(min_length=1, max_length=10), AfterValidator(identifier), patterns.WINDOW]


class ScheduleBody(Strict):
    """What a schedule is to be; what is absent takes its default, also where the schedule is there already."""

    task: TaskId
    cron: _Cron = Field(
        description="Minute, hour, day of month, month, day of week; `L` is the last day, `5L` the last Friday."
    )
    timezone: _Zone | None = Field(default=None, description="An IANA name; UTC if absent.")
    externalId: Key | None = Field(default=None, description="Given to each run, for whoever the schedule is of.")
    window: _Window | None = Field(default=None, description="Over how long ticks are spread: `30m`, `2h`, or `25%`.")
    overlap: Literal["allow", "skip", "queue", "replace"] | None = Field(
        default=None, description="What a tick does while a run of the schedule is not over; `allow` if absent."
    )
    catchUp: Literal["none", "last", "all"] | None = Field(
        default=None, description="Which ticks that nobody fired in time are made up for; `last` if absent."
    )


class NewScheduleBody(ScheduleBody):
    """A new schedule, or another one for the key."""

    deduplicationKey: Key


class BackfillBody(Strict):
    """A time that is past, its ends included; at most 1,000 ticks."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)

    begin: Date = Field(alias="from", description="An ISO date.")
    end: Date = Field(alias="to", description="An ISO date.")


class TimezonesQuery(Query):
    """Which zones."""

    excludeUtc: Literal["true", "false"] | None = None


class ScheduleEnvironment(Reply):
    """Where a schedule's runs go."""

    id: str
    type: str


class ScheduleReply(Reply):
    """A schedule. `nextRun`: its next tick; `nextRunEffectiveAt`: when that fires, which a window makes later. It is absent
    where the tick waits for a run to be over.

    `lastRun`: the newest tick that became a run. `deduplicationKey`: only where it was given.
    """

    id: str
    type: str
    task: str
    active: bool
    deduplicationKey: str | None = None
    externalId: str | None = None
    generator: ScheduleGenerator
    timezone: str
    window: str | None = None
    overlap: str
    catchUp: str
    nextRun: datetime | None = None
    nextRunEffectiveAt: datetime | None = None
    lastRun: datetime | None = None
    environments: list[ScheduleEnvironment]


class SchedulesReply(Reply):
    """A page of schedules, newest first."""

    data: list[ScheduleReply]
    pagination: NumberedPages


class BackfilledReply(Reply):
    """How many ticks there are in that time, and for how many of them a run was made now; the others had theirs."""

    ticks: int
    created: int


class TimezonesReply(Reply):
    """IANA names, UTC first."""

    timezones: list[str]
