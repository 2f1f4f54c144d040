"""`ScheduledPayload`: what the run of a schedule is given."""

from __future__ import annotations

from datetime import datetime
from typing import NotRequired, TypedDict


class ScheduledPayload(TypedDict):
    """`timestamp`: the tick, whenever it fired; `lastTimestamp`: the one before that became a run; `upcoming`: the next 5.

    `externalId`: whom the schedule is of, as whoever made it said; `type`: DECLARATIVE or IMPERATIVE. Dates are aware.
    """

    scheduleId: str
    type: str
    timestamp: datetime
    lastTimestamp: NotRequired[datetime]
    externalId: NotRequired[str]
    timezone: str
    upcoming: list[datetime]
