"""The runs of a schedule's ticks: what each is given, and by what the store knows it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sojourn.control_plane.domain.timetable import Timetable
from sojourn.control_plane.engine.triggering import TriggerRequest
from sojourn.control_plane.store.records import Schedule


def requests(
    schedule: Schedule, table: Timetable, ticks: Sequence[datetime], last: datetime | None, *, source: str
) -> Iterator[TriggerRequest]:
    """What is asked for, tick by tick; `last`: the tick before the first of them, if there was one."""
    for tick in ticks:
        yield TriggerRequest(
            task=schedule.task,
            payload=json.dumps(payload(schedule, table, tick, last), separators=(",", ":")),
            source=source,
            schedule_id=schedule.id,
            scheduled_at=tick,
        )
        last = tick


def in_order(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs that are stored in one moment, with ids that sort as they stand here: so they are queued, and listed."""
    names = sorted(document["id"] for document in documents)
    return [{**document, "id": name} for document, name in zip(documents, names, strict=True)]


def payload(schedule: Schedule, table: Timetable, tick: datetime, last: datetime | None) -> dict[str, Any]:
    """What the run of a tick is given."""
    given: dict[str, Any] = {"scheduleId": schedule.id, "type": schedule.type, "timestamp": _iso(tick)}
    if last is not None:
        given["lastTimestamp"] = _iso(last)
    if schedule.external_id is not None:
        given["externalId"] = schedule.external_id
    return given | {"timezone": schedule.timezone, "upcoming": [_iso(each) for each in table.upcoming(tick)]}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
