"""Bulk actions: many runs cancelled or replayed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.lists import Pagination
from sojourn.control_plane.api.models.shape import Reply, Strict
from sojourn.control_plane.api.models.texts import IDENTIFIER, MAX_NAME_CHARS, Duration, MachineName, Moment, Name, RunId
from sojourn.control_plane.api.present.statuses import STATUS_WORDS

#: Runs that a bulk action names by their ids.
MAX_BULK_RUNS = 500
_Words = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), IDENTIFIER]],
    Field(min_length=1, max_length=100),
]
_OneOrMore = Name | _Words
_StatusWord = Annotated[Name, patterns.any_of(STATUS_WORDS)]
_MomentOrNumber = Moment | Annotated[int, Field(ge=0, le=10**15, json_schema_extra=dict(patterns.MILLISECONDS))]


class BulkQueue(Strict):
    """A queue: a task's own, by the task's id, or one by its name."""

    type: Literal["task", "custom"]
    name: Name


class BulkFilter(Strict):
    """Which runs: all that is named has to fit, and of several values any. `{}` is every run."""

    status: _StatusWord | Annotated[list[_StatusWord], Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Of either vocabulary. To cancel: those that are not over."
    )
    taskIdentifier: _OneOrMore | None = None
    version: _OneOrMore | None = None
    since: _MomentOrNumber | None = Field(default=None, alias="from", description="A date or ms since the epoch.")
    until: _MomentOrNumber | None = Field(default=None, alias="to", description="A date or ms since the epoch.")
    period: Duration | None = Field(default=None, description="The last so long, like 7d.")
    bulkAction: _OneOrMore | None = None
    tag: _OneOrMore | None = None
    schedule: _OneOrMore | None = None
    isTest: bool | None = None
    batch: _OneOrMore | None = None
    queue: BulkQueue | Annotated[list[BulkQueue], Field(min_length=1, max_length=100)] | None = None
    machine: MachineName | Annotated[list[MachineName], Field(min_length=1, max_length=100)] | None = None
    region: _OneOrMore | None = None
    error: _OneOrMore | None = Field(
        default=None, description="Code, name or type of the error that it ended with. Not to cancel."
    )

    @model_validator(mode="after")
    def _narrows_if_it_names_something(self) -> BulkFilter:
        if self.model_fields_set and all(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("what it names has no value; {} is every run")
        return self


class BulkActionBody(Strict):
    """What is to be done, and to which runs: those that a filter finds among all that there are now, or these."""

    model_config = ConfigDict(json_schema_extra=patterns.one_of("filter", "runIds"))

    action: Literal["cancel", "replay"]
    filter: BulkFilter | None = None
    runIds: Annotated[list[RunId], Field(min_length=1, max_length=MAX_BULK_RUNS)] | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=255), IDENTIFIER] | None = None
    targetRegion: Name | None = Field(default=None, description="Where replays go, if not where the runs went.")

    @model_validator(mode="after")
    def _says_it_one_way(self) -> BulkActionBody:
        if (self.filter is None) == (self.runIds is None):
            raise ValueError("needs either filter or runIds")
        return self


class BulkCounts(Reply):
    """Runs: all that there are to act on, 0 until they are counted; those that were acted on; those that could not be."""

    total: int
    success: int
    failure: int


class BulkActionReply(Reply):
    """How far a bulk action has come. `type`: CANCEL or REPLAY; `status`: PENDING, COMPLETED or ABORTED."""

    id: str
    name: str | None = None
    type: str
    status: str
    counts: BulkCounts
    createdAt: datetime
    completedAt: datetime | None = None


class BulkActionsReply(Reply):
    """A page of bulk actions, newest first."""

    data: list[BulkActionReply]
    pagination: Pagination
