"""The API's calls about schedules, in the words that users write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sojourn.sdk.client import Client
from sojourn.sdk.default_client import default
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.named import id_of
from sojourn.sdk.pages import numbered
from sojourn.sdk.schedule_state import Backfill, ScheduleState, Zones


def body(task: Any, cron: str, **options: str | None) -> dict[str, Any]:
    """What a schedule is to be, on the wire."""
    wire = {"task": id_of(task, "task"), "cron": cron, **{_WIRE.get(name, name): value for name, value in options.items()}}
    return {name: value for name, value in wire.items() if value is not None}


_WIRE = {"deduplication_key": "deduplicationKey", "external_id": "externalId", "catch_up": "catchUp"}


def create(wire: Mapping[str, Any], client: Client | None) -> ScheduleState:
    """A new schedule, or the one that its key leads to, changed."""
    return ScheduleState((client or default()).create_schedule(wire))


def retrieve(schedule_id: str, client: Client | None) -> ScheduleState:
    """A schedule."""
    return ScheduleState((client or default()).retrieve_schedule(schedule_id))


def update(schedule_id: str, wire: Mapping[str, Any], client: Client | None) -> ScheduleState:
    """A schedule becomes what is asked for."""
    return ScheduleState((client or default()).update_schedule(schedule_id, wire))


def switch(schedule_id: str, active: bool, client: Client | None) -> ScheduleState:
    """A schedule fires, or does so no longer."""
    return ScheduleState((client or default()).switch_schedule(schedule_id, active))


def delete(schedule_id: str, client: Client | None) -> None:
    """A schedule is no more."""
    (client or default()).delete_schedule(schedule_id)


def backfill(schedule_id: str, begin: Any, end: Any, client: Client | None) -> Backfill:
    """The runs of a time that is past are made."""
    filled = (client or default()).backfill_schedule(schedule_id, _date(begin), _date(end))
    return Backfill(filled["ticks"], filled["created"])


def timezones(exclude_utc: bool, client: Client | None) -> Zones:
    """The zones that schedules can have."""
    return Zones((client or default()).timezones(exclude_utc)["timezones"])


def pages(limit: int | None, client: Client | None) -> Iterator[list[ScheduleState]]:
    """The pages of the list, `limit` schedules at most in all."""

    def ask(number: int, size: int) -> dict[str, Any]:
        return (client or default()).list_schedules({"page": number, "perPage": size})

    return numbered(ask, ScheduleState, limit)


def _date(value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError("a datetime without a time zone: add tzinfo=timezone.utc")
        return value.isoformat()
    return str(value)
