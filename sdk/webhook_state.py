"""Webhooks and messages to them, as they stand."""

from __future__ import annotations

from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from datetime import datetime
    from typing import Any


class WebhookState(Value):
    """A webhook as it stands. `tasks` None: of all. `failures`: attempts that failed in a row, since `failing_since`.

    `secret`: only of one that this call has made, or given another.
    """

    __slots__ = (
        "created_at", "description", "disabled_reason", "enabled", "events", "failing_since", "failures", "id", "raw",
        "secret", "tasks", "updated_at", "url",
    )  # fmt: skip
    id: str
    url: str
    events: tuple[str, ...]
    tasks: tuple[str, ...] | None
    description: str | None
    enabled: bool
    disabled_reason: str | None
    failures: int
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime
    secret: str | None
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From the API's WebhookReply; `raw` keeps what has no field here."""
        tasks = wire.get("tasks")
        self._keep(
            wire["id"], wire["url"], tuple(wire["events"]), None if tasks is None else tuple(tasks),
            wire.get("description"), bool(wire["enabled"]), wire.get("disabledReason"), wire["failures"],
            _date(wire, "failingSince"), _date(wire, "createdAt"), _date(wire, "updatedAt"), wire.get("secret"), wire,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"WebhookState(id={self.id!r}, url={self.url!r}, enabled={self.enabled!r})"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, WebhookState]: ...


class WebhookStates(list["WebhookState"]):
    """An environment's webhooks, newest first."""

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, WebhookStates]: ...


class WebhookDelivery(Value):
    """A message to a webhook: `status` is PENDING, DELIVERED or FAILED; `run` the run's id, None of a test.

    `response_status` and `error`: of its last attempt. `next_attempt_at`: while it is PENDING.
    """

    __slots__ = (
        "attempted_at", "attempts", "created_at", "delivered_at", "error", "event", "id", "next_attempt_at", "raw",
        "response_status", "run", "status",
    )  # fmt: skip
    id: str
    run: str | None
    event: str
    status: str
    attempts: int
    response_status: int | None
    error: str | None
    created_at: datetime
    attempted_at: datetime | None
    delivered_at: datetime | None
    next_attempt_at: datetime | None
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From the API's DeliveryReply; `raw` keeps what has no field here."""
        self._keep(
            wire["id"], wire.get("run"), wire["event"], wire["status"], wire["attempts"], wire.get("responseStatus"),
            wire.get("error"), _date(wire, "createdAt"), _date(wire, "attemptedAt"), _date(wire, "deliveredAt"),
            _date(wire, "nextAttemptAt"), wire,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, WebhookDelivery]: ...


def _date(wire: Mapping[str, Any], name: str) -> datetime | None:
    from datetime import datetime

    return datetime.fromisoformat(wire[name]) if wire.get(name) else None
