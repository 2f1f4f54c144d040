"""What goes between the client and its transport: one request, one response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Request(NamedTuple):
    """`body` is JSON text in bytes, or None. `timeout` in seconds."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    timeout: float = 60.0


class Response(NamedTuple):
    """`headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends one request; `ApiConnectionError` when no answer comes."""

    def __call__(self, request: Request, /) -> Response: ...
