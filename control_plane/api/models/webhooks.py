"""Webhooks and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.lists import NumberedPageQuery, NumberedPages
from sojourn.control_plane.api.models.shape import Reply, Strict
from sojourn.control_plane.api.models.texts import IDENTIFIER, TaskId, identifier

_Url = Annotated[str, StringConstraints(min_length=1, max_length=2_048), AfterValidator(identifier), patterns.URL]
_Event = Literal[
    "run.completed", "run.failed", "run.crashed", "run.canceled", "run.expired", "run.timed_out", "run.system_failure"
]  # fmt: skip


class WebhookBody(Strict):
    """What a webhook is to be; what is absent takes its default, also where the webhook is there already."""

    url: _Url = Field(description="Where messages are posted to: http:// or https://.")
    events: Annotated[list[_Event], Field(min_length=1, max_length=20)] | None = Field(
        default=None, description="What to be told of; every end if absent."
    )
    tasks: Annotated[list[TaskId], Field(max_length=100)] | None = Field(
        default=None, description="Of whose runs; all tasks' if absent or empty."
    )
    description: Annotated[str, StringConstraints(max_length=256), IDENTIFIER] | None = None


class DeliveriesQuery(NumberedPageQuery):
    """A page of messages to a webhook."""

    status: Literal["PENDING", "DELIVERED", "FAILED"] | None = Field(default=None, alias="filter[status]")


class WebhookReply(Reply):
    """A webhook. `tasks`: absent for all. `failures`: attempts that failed in a row."""

    id: str
    url: str
    description: str | None = None
    events: list[str]
    tasks: list[str] | None = None
    enabled: bool
    disabledAt: datetime | None = None
    disabledReason: str | None = None
    failures: int
    failingSince: datetime | None = None
    previousSecretUntil: datetime | None = None
    createdAt: datetime
    updatedAt: datetime


class WebhookSecretReply(WebhookReply):
    """A webhook with its new secret, which is shown this once."""

    secret: str


class WebhooksReply(Reply):
    """A page of webhooks, newest first."""

    data: list[WebhookReply]
    pagination: NumberedPages


class DeliveryReply(Reply):
    """A message to a webhook. `responseStatus` and `error`: of its last attempt; `nextAttemptAt`: while it is PENDING."""

    id: str
    run: str | None = Field(default=None, description="Absent of a test message.")
    event: str
    status: str
    attempts: int
    responseStatus: int | None = None
    error: str | None = None
    createdAt: datetime
    attemptedAt: datetime | None = None
    deliveredAt: datetime | None = None
    nextAttemptAt: datetime | None = None


class DeliveriesReply(Reply):
    """A page of messages, newest first."""

    data: list[DeliveryReply]
    pagination: NumberedPages
