"""Tokens: what a run waits for until somebody, anywhere, completes it."""

from __future__ import annotations

from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from datetime import datetime
    from typing import Any

    from sojourn.sdk.errors import WaitpointTimeoutError


class Token(Value):
    """A token that was created. A POST of JSON to `url`, without a key, completes it with that JSON.

    `is_cached`: an idempotency key led to one that was there before. `public_access_token` lets a browser complete this
    token and nothing else; None where the platform gives none.
    """

    __slots__ = ("id", "is_cached", "public_access_token", "url")
    id: str
    url: str
    is_cached: bool
    public_access_token: str | None

    def __init__(self, id: str, url: str, is_cached: bool = False, public_access_token: str | None = None):
        self._keep(id, url, is_cached, public_access_token)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, Token]: ...


class TokenResult(Value):
    """`output` where `ok`; else `error`, a WaitpointTimeoutError."""

    __slots__ = ("error", "id", "ok", "output")
    ok: bool
    id: str
    output: Any
    error: WaitpointTimeoutError | None

    def __init__(self, ok: bool, id: str, output: Any = None, error: WaitpointTimeoutError | None = None):
        self._keep(ok, id, output, error)

    def unwrap(self) -> Any:
        """The output; `WaitpointTimeoutError` if nobody completed the token in time."""
        if self.error is not None:
            raise self.error
        return self.output

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, TokenResult]: ...


class TokenState(Value):
    """A token as it stands: `status` is WAITING, COMPLETED or TIMED_OUT; dates are aware; `output` is parsed."""

    __slots__ = (
        "completed_at", "created_at", "id", "idempotency_key", "output", "raw", "status", "tags", "timeout_at", "url",
    )  # fmt: skip
    id: str
    url: str
    status: str
    created_at: datetime
    completed_at: datetime | None
    timeout_at: datetime | None
    idempotency_key: str | None
    tags: tuple[str, ...]
    output: Any
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From the API's TokenItem; `raw` keeps what has no field here."""
        import json
        from datetime import datetime

        def date(name: str) -> datetime | None:
            return datetime.fromisoformat(wire[name]) if wire.get(name) else None

        output = None if wire.get("outputIsError") else wire.get("output")
        if isinstance(output, str) and "json" in wire.get("outputType", "application/json"):
            output = json.loads(output)
        self._keep(
            wire["id"], wire.get("url", ""), wire["status"], date("createdAt"), date("completedAt"), date("timeoutAt"),
            wire.get("idempotencyKey"), tuple(wire.get("tags") or ()), output, wire,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, TokenState]: ...
