"""One call of the API, as responders see it: who calls, when, with what; HTTP stays outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sojourn.control_plane.api.visitor import Visitor
from sojourn.control_plane.domain.scopes import Resource
from sojourn.control_plane.engine.credentials import ExecutorIdentity
from sojourn.control_plane.engine.identities import Claims
from sojourn.control_plane.store.records import Environment, PersonalToken, Run


class Call:
    """`body` and `query` are models of the route's kinds, or None; a streamed body is a `Stream`.

    Where anyone may call, there is no `now`. `visitor`: what the caller may do of an environment. `made`: what the call
    made, for whoever may go on with that alone. `find_run` finds a run of the caller's environment; only there for
    callers who may do a part.
    """

    __slots__ = ("body", "caller", "find_run", "headers", "made", "now", "query", "visitor")
    find_run: Callable[[str], Run | None]

    def __init__(
        self,
        caller: Environment | PersonalToken | ExecutorIdentity | Claims | None,
        now: datetime | None,
        body: Any,
        query: Any,
        headers: Mapping[str, Any],
        visitor: Visitor | None = None,
    ):
        self.caller = caller
        self.visitor = visitor
        self.made: str | None = None
        if now is not None:
            self.now = now
        self.body = body
        self.query = query
        self.headers = headers

    @property
    def environment(self) -> Environment:
        """The environment whose key was sent."""
        assert isinstance(self.caller, Environment)
        return self.caller

    def may(self, action: str, resource: Resource) -> bool:
        """Whether the caller may do that."""
        return self.visitor is None or self.visitor.may(action, resource)

    def require(self, action: str, resource: Resource) -> None:
        """`Problem` 403 unless the caller may do that: for what the route's need cannot know."""
        if self.visitor is not None:
            self.visitor.require(action, resource)

    @property
    def person(self) -> PersonalToken:
        """The personal or organization token that was sent."""
        assert isinstance(self.caller, PersonalToken)
        return self.caller

    @property
    def executor(self) -> ExecutorIdentity:
        """The executor whose credential was sent."""
        assert isinstance(self.caller, ExecutorIdentity)
        return self.caller

    @property
    def allocation(self) -> Claims:
        """The allocation whose identity was sent."""
        assert isinstance(self.caller, Claims)
        return self.caller

    def header(self, name: str) -> str | None:
        """A request header; None when it is absent or empty."""
        value: str | None = self.headers.get("HTTP_" + name.upper().replace("-", "_"))
        return value or None


class Streamed:
    """A body of so many bytes that is made while it is sent."""

    __slots__ = ("chunks", "media_type", "size")

    def __init__(self, chunks: Iterator[bytes], size: int, media_type: str = "application/octet-stream"):
        self.chunks = chunks
        self.size = size
        self.media_type = media_type


class Answer:
    """A body that is made already, and the headers and status that go with it."""

    __slots__ = ("data", "headers", "media_type", "status")

    def __init__(
        self,
        data: bytes,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        status: str = "200 OK",
    ):
        self.data = data
        self.media_type = media_type
        self.headers = headers
        self.status = status
