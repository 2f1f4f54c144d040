"""`schedules`: what triggers tasks by itself, made and changed while the app runs.

In `def` code a call returns what it gives. In `async def` code (where an event loop runs in this thread) it gives an
awaitable of that.
"""

from __future__ import annotations

from sojourn.sdk import inside
from sojourn.sdk.named import id_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator
    from datetime import datetime

    from sojourn.sdk.client import Client
    from sojourn.sdk.schedule_state import Backfill, ScheduleState, Zones
    from sojourn.sdk.task import Task


if TYPE_CHECKING:

    class ScheduleStates(Iterator[ScheduleState]):
        """What `schedules.list` gives: an iterator, or in `async def` code an async iterator."""

        def __next__(self) -> ScheduleState: ...
        def __aiter__(self) -> AsyncIterator[ScheduleState]: ...


class Schedules:
    """The functions of `sojourn.schedules`."""

    def create(
        self,
        task: Task | str,
        cron: str,
        *,
        deduplication_key: str,
        timezone: str | None = None,
        external_id: str | None = None,
        window: str | None = None,
        overlap: str | None = None,
        catch_up: str | None = None,
        client: Client | None = None,
    ) -> ScheduleState:
        """A new schedule of a deployed task. The same key leads to the same schedule, which becomes what is asked for."""
        from sojourn.sdk import schedule_calls

        wire = schedule_calls.body(
            task, cron, deduplication_key=deduplication_key, timezone=timezone, external_id=external_id, window=window,
            overlap=overlap, catch_up=catch_up,
        )  # fmt: skip
        return inside.call(schedule_calls.create, wire, client)

    def retrieve(self, schedule: ScheduleState | str, *, client: Client | None = None) -> ScheduleState:
        """A schedule as it stands."""
        from sojourn.sdk import schedule_calls

        return inside.call(schedule_calls.retrieve, _id(schedule), client)

    def update(
        self,
        schedule: ScheduleState | str,
        task: Task | str,
        cron: str,
        *,
        timezone: str | None = None,
        external_id: str | None = None,
        window: str | None = None,
        overlap: str | None = None,
        catch_up: str | None = None,
        client: Client | None = None,
    ) -> ScheduleState:
        """The schedule becomes what is asked for; what is left out takes its default."""
        from sojourn.sdk import schedule_calls

        wire = schedule_calls.body(
            task, cron, timezone=timezone, external_id=external_id, window=window, overlap=overlap, catch_up=catch_up
        )
        return inside.call(schedule_calls.update, _id(schedule), wire, client)

    def activate(self, schedule: ScheduleState | str, *, client: Client | None = None) -> ScheduleState:
        """The schedule fires, from its next tick on."""
        from sojourn.sdk import schedule_calls

        return inside.call(schedule_calls.switch, _id(schedule), True, client)

    def deactivate(self, schedule: ScheduleState | str, *, client: Client | None = None) -> ScheduleState:
        """The schedule fires no longer."""
        from sojourn.sdk import schedule_calls

        return inside.call(schedule_calls.switch, _id(schedule), False, client)

    def delete(self, schedule: ScheduleState | str, *, client: Client | None = None) -> Awaitable[None]:
        """Deletes a schedule; its runs stay."""
        from sojourn.sdk import schedule_calls

        return inside.call(schedule_calls.delete, _id(schedule), client)

    def backfill(
        self,
        schedule: ScheduleState | str,
        begin: datetime | str,
        end: datetime | str,
        *,
        client: Client | None = None,
    ) -> Backfill:
        """Makes the runs of a time that is past, both ends included: once each, however often it is asked for."""
        from sojourn.sdk import schedule_calls

        return inside.call(schedule_calls.backfill, _id(schedule), begin, end, client)

    def list(self, *, limit: int | None = None, client: Client | None = None) -> ScheduleStates:
        """Schedules, newest first, as they were when the first was asked for: the list is read whole before.

        In `async def` code an async iterator.
        """
        from sojourn.sdk import pages, schedule_calls

        listed: ScheduleStates = pages.listed(schedule_calls.pages(limit, client))
        return listed

    def timezones(self, *, exclude_utc: bool = False, client: Client | None = None) -> Zones:
        """The names of time zones that schedules can have, UTC first."""
        from sojourn.sdk import schedule_calls

        return inside.call(schedule_calls.timezones, exclude_utc, client)


def _id(schedule: ScheduleState | str) -> str:
    return id_of(schedule, "schedule")


schedules = Schedules()
