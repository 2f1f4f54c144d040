"""What an answer that is no success holds."""

from __future__ import annotations

from pydantic import Field

from sojourn.control_plane.api.models.shape import Reply


class Issue(Reply):
    """One thing that is wrong with a request."""

    field: str
    message: str


class Refusal(Reply):
    """Every answer that is no success."""

    error: str
    code: str = Field(description="Stable; docs/errors.md lists them.")
    field: str | None = Field(default=None, description="What in the request is meant.")
    nextStep: str | None = Field(default=None, description="What to do about it.")
    details: list[Issue] | None = None
    requestId: str | None = Field(default=None, description="Of an internal error: where the server's log has its cause.")
    param: str | None = Field(default=None, description="Of a scope that is missing: `access_token`.")
    type: str | None = Field(default=None, description="Of a scope that is missing: `authorization`; of 429: an address.")
    deniedScopes: list[str] | None = Field(default=None, description="Scopes that the caller's own key lacks.")
    title: str | None = None
    status: int | None = None
    detail: str | None = None
    reset: int | None = Field(default=None, description="Of 429: when a call is let in again, in ms since the epoch.")
    limit: int | None = Field(default=None, description="Of 429: how many calls are let in at once.")
    remaining: int | None = None
    secondsUntilReset: int | None = None
