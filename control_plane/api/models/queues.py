"""Queues: their limits, rates and pauses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.lists import PageNumbers
from sojourn.control_plane.api.models.shape import Query, Reply, Strict
from sojourn.control_plane.api.models.texts import ConcurrencyKey, Duration
from sojourn.control_plane.api.models.triggers import Number
from sojourn.sdk.protocol import MAX_QUEUE_LIMIT, MAX_RATE

QueueType = Literal["id", "task", "custom"]
OneKey = Annotated[ConcurrencyKey, StringConstraints(min_length=1)] | Number


class QueueBody(Strict):
    """How the address names the queue: by its id, as a task's own by the task's id, or by a name of its own."""

    type: QueueType = "id"


class PauseBody(QueueBody):
    """Whether runs of the queue are held back."""

    action: Literal["pause", "resume"]


class LimitResetBody(QueueBody):
    """Whose limit it is: each concurrency key's, or that of one."""

    concurrencyKey: OneKey | None = Field(default=None, description="Absent: what each key of the queue has.")


class LimitBody(LimitResetBody):
    """A limit in place of the declared one: a number, or a part of the environment's."""

    model_config = ConfigDict(json_schema_extra=patterns.one_of("concurrencyLimit", "percent"))

    concurrencyLimit: Annotated[int, Field(ge=0, le=MAX_QUEUE_LIMIT)] | None = None
    percent: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = Field(
        default=None, description="Of the environment's limit, whatever that is at the time; 1 run at least."
    )

    @model_validator(mode="after")
    def _says_it_one_way(self) -> LimitBody:
        if (self.concurrencyLimit is None) == (self.percent is None):
            raise ValueError("needs either concurrencyLimit or percent")
        return self


class RateResetBody(QueueBody):
    """Which rate: of all the queue, of each concurrency key, or of one."""

    model_config = ConfigDict(json_schema_extra=patterns.not_both("perKey", "concurrencyKey"))

    perKey: bool = False
    concurrencyKey: OneKey | None = Field(default=None, description="This key's, in place of what each key has.")

    @model_validator(mode="after")
    def _is_of_one_thing(self) -> RateResetBody:
        if self.perKey and self.concurrencyKey is not None:
            raise ValueError("takes either perKey or concurrencyKey")
        return self


class RateBody(RateResetBody):
    """How many runs may start in each period: spread evenly, but for a burst of so many at once."""

    limit: Annotated[int, Field(ge=1, le=MAX_RATE)]
    period: Duration = Field(description='A duration ("1s", "5m", "1d") of 400 days at most.')
    burst: Annotated[int, Field(ge=1, le=MAX_RATE)] | None = Field(
        default=None, description="At most `limit`; absent: as many as a second's worth, 1 at least."
    )


class QueueQuery(Query):
    """How the address names the queue."""

    type: QueueType = Field(default="id", description="By its id, by a task's id, or by a name of its own.")


class QueueConcurrency(Reply):
    """The limit that holds, the declared one and the one that is in its place; null is none of its own."""

    current: int | None
    base: int | None
    override: int | None
    overriddenAt: datetime | None
    overriddenBy: str | None = Field(description="Always null: a key says nothing of who holds it.")


class RateItem(Reply):
    """`limit` runs may start in each `period`, `burst` of them at once."""

    limit: int
    period: str
    burst: int


class QueueKeyItem(Reply):
    """A concurrency key with a limit or a rate of its own; null or absent: what each key of the queue has."""

    concurrencyKey: str
    concurrencyLimit: int | None
    concurrencyLimitOverridePercent: float | None = None
    overriddenAt: datetime | None = None
    rate: RateItem | None = None


class QueueReply(Reply):
    """A queue. `type`: `task` for a task's own, else `custom`; `name` without `task/`.

    `running`: runs that hold slots; `queued`: runs that wait for them. `concurrencyLimit` null: the environment's.
    `rate`, `keyRate`: how many runs of it, and of each concurrency key, may start; absent: as many as there are.
    `keys`: those with something of their own, by their names; absent where there are none, and in lists.
    """

    id: str
    name: str
    type: str
    running: int
    queued: int
    paused: bool
    concurrencyLimit: int | None
    concurrency: QueueConcurrency
    concurrencyLimitOverridePercent: float | None = None
    rate: RateItem | None = None
    keyRate: RateItem | None = None
    keys: list[QueueKeyItem] | None = None
    releaseConcurrencyOnWaitpoint: bool


class QueuesReply(Reply):
    """A page of queues, by their names."""

    data: list[QueueReply]
    pagination: PageNumbers
