"""Tokens that runs wait for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.lists import Each, Listed, PageQuery, Pagination, Word
from sojourn.control_plane.api.models.shape import Reply, Strict
from sojourn.control_plane.api.models.texts import DurationOrDate, Key, KeyTTL, Tag


class TokenBody(Strict):
    """A new token. Its idempotency key leads to it always, unless `idempotencyKeyTTL` says how long."""

    idempotencyKey: Key | None = None
    idempotencyKeyTTL: KeyTTL | None = None
    timeout: DurationOrDate | None = Field(
        default=None, description='How long it is waited for: a duration ("1h30m") or an ISO date. Absent: for ever.'
    )
    tags: Tag | list[Tag] | None = Field(default=None, description="At most 10; blank ones are dropped.")


class CompleteBody(Strict):
    """What a token is completed with: any JSON value, or none."""

    data: Any = None


TOKEN_STATUSES = ("WAITING", "COMPLETED", "TIMED_OUT")
_TokenStatuses = (
    Annotated[Word, patterns.listed(TOKEN_STATUSES)]
    | Annotated[list[Annotated[Word, patterns.one_listed(TOKEN_STATUSES)]], Each]
)


class TokensQuery(PageQuery):
    """Which tokens: any of several values of one filter fits.

    Commas separate values; a parameter that is sent more than once has one value each time, whatever is in it.
    """

    status: _TokenStatuses | None = Field(
        default=None, alias="filter[status]", description="WAITING, COMPLETED, TIMED_OUT."
    )
    tags: Listed | None = Field(default=None, alias="filter[tags]")
    idempotency_key: Key | None = Field(default=None, alias="filter[idempotencyKey]")


class TokenMadeReply(Reply):
    """`url`: a POST to it completes the token, without a key. `isCached`: an idempotency key led to one that was there."""

    id: str
    isCached: bool
    url: str


class TokenItem(Reply):
    """A token. `status`: WAITING, COMPLETED or TIMED_OUT; `timeoutAt`, also `completedAfter`: how long it is waited for."""

    id: str
    url: str = Field(description="A POST to it completes the token; empty for whoever may only read it.")
    status: str
    completedAt: datetime | None = None
    completedAfter: datetime | None = None
    timeoutAt: datetime | None = None
    idempotencyKey: str | None = None
    idempotencyKeyExpiresAt: datetime | None = None
    tags: list[str]
    createdAt: datetime


class TokenReply(TokenItem):
    """A token with the text, of that type, that it was completed with; `outputIsError`: it ran out of time."""

    output: str | None = None
    outputType: str | None = None
    outputIsError: bool | None = None


class TokensReply(Reply):
    """A page of tokens, newest first."""

    data: list[TokenItem]
    pagination: Pagination
