"""A row of the table: an address, who may call it, what goes in and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.needs import Need

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """`action` names a resource and its responder; `limit` is the body's size in bytes; `codes` are refusals of its
    own besides those that every route of its kind has. `forgiving`: NaN in the body becomes null. `streams`: the body is
    handed on as it arrives, and not read as JSON; it `takes` that media type, and where it is read line by line, each is
    a `line`. The reply's, where it is no JSON: `gives`. `statuses`: those of success. `needs`: what restricted keys and
    public tokens must be granted; a route that names none is for those that may do everything. `counted`: it counts
    against the limit of calls.
    """

    method: str
    path: str
    action: str
    caller: Caller
    summary: str
    reply: type[BaseModel] | None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    limit: int = 64 * KIB
    codes: tuple[str, ...] = ()
    forgiving: bool = False
    streams: bool = False
    gives: str = "application/json"
    takes: str = "application/octet-stream"
    line: type[BaseModel] | None = None
    statuses: tuple[int, ...] = (200,)
    needs: Need | None = None
    counted: bool = True

    @property
    def takes_tokens(self) -> bool:
        """Whether public tokens may come, too."""
        return self.needs is not None and self.needs.tokens

    @property
    def all_codes(self) -> tuple[str, ...]:
        """Every refusal that a caller of this route may get."""
        codes = list(self.codes)
        if self.caller is not Caller.ANYONE:
            codes += [*_OF_CALLERS[self.caller], "UNAVAILABLE"]
        if self.caller in (Caller.ENVIRONMENT, Caller.PROJECT) and self.counted:
            codes.append("RATE_LIMITED")
        if self.body:
            codes += _OF_BODIES
        if self.streams:
            codes += _OF_STREAMS
        if self.query:
            codes.append("QUERY_INVALID")
        return tuple(dict.fromkeys([*codes, "INTERNAL"]))


_OF_CALLERS = {
    Caller.ENVIRONMENT: ("UNAUTHORIZED", "PUBLIC_TOKEN_REFUSED", "PUBLIC_TOKEN_SPENT", "FORBIDDEN"),
    Caller.PROJECT: ("UNAUTHORIZED", "PUBLIC_TOKEN_REFUSED", "PERSONAL_TOKEN_REFUSED", "PROJECT_NOT_FOUND", "FORBIDDEN"),
    Caller.PERSON: ("PERSONAL_TOKEN_REFUSED",),
    Caller.EXECUTOR: ("CREDENTIAL_REFUSED",),
    Caller.ALLOCATION: ("IDENTITY_REFUSED", "KEY_UNKNOWN"),
}


_OF_BODIES = (
    "INVALID_JSON",
    "BODY_TOO_DEEP",
    "BODY_INCOMPLETE",
    "BODY_INVALID",
    "BODY_TOO_SLOW",
    "BODY_TOO_LARGE",
    "CONTENT_TYPE_UNSUPPORTED",
    "CONTENT_ENCODING_UNSUPPORTED",
)


_OF_STREAMS = ("BODY_INCOMPLETE", "BODY_TOO_SLOW", "BODY_TOO_LARGE", "BAD_REQUEST")
