"""Schedules as they stand, and what else calls about them give."""

from __future__ import annotations

from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from datetime import datetime
    from typing import Any


class ScheduleState(Value):
    """A schedule as it stands; dates are aware. `next_run`: its next tick, at which it fires, or with a window later:
    `next_run_effective_at`. `last_run`: the newest tick that became a run.
    """

    __slots__ = (
        "active", "catch_up", "cron", "deduplication_key", "description", "external_id", "id", "last_run", "next_run",
        "next_run_effective_at", "overlap", "raw", "task", "timezone", "type", "window",
    )  # fmt: skip
    id: str
    type: str
    task: str
    active: bool
    cron: str
    description: str
    timezone: str
    window: str | None
    overlap: str
    catch_up: str
    deduplication_key: str | None
    external_id: str | None
    next_run: datetime | None
    next_run_effective_at: datetime | None
    last_run: datetime | None
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From the API's ScheduleReply; `raw` keeps what has no field here."""
        from datetime import datetime

        def date(name: str) -> datetime | None:
            return datetime.fromisoformat(wire[name]) if wire.get(name) else None

        generator = wire["generator"]
        self._keep(
            wire["id"], wire["type"], wire["task"], bool(wire["active"]), generator["expression"],
            generator.get("description", ""), wire["timezone"], wire.get("window"), wire.get("overlap", "allow"),
            wire.get("catchUp", "last"), wire.get("deduplicationKey"), wire.get("externalId"), date("nextRun"),
            date("nextRunEffectiveAt"), date("lastRun"), wire,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, ScheduleState]: ...


class Backfill(Value):
    """How many `ticks` there are in a time that was filled in, and for how many a run was `created`; others had theirs."""

    __slots__ = ("created", "ticks")
    ticks: int
    created: int

    def __init__(self, ticks: int, created: int):
        self._keep(ticks, created)

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, Backfill]: ...


class Zones(list[str]):
    """Names of time zones."""

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, Zones]: ...
