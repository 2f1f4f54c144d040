"""When a schedule fires: its ticks, spread over a window, and what is made of those that were missed or overlap. Pure.

A tick is a moment that the cron expression names. It is due then, or with a window a while later: each schedule's own share
of the window, always the same.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from sojourn.control_plane.domain import cron
from sojourn.control_plane.domain.cron import Expression

#: Ticks that the payload of a run looks ahead to.
UPCOMING = 5
#: Of the ticks that were missed, the newest so many are made up for.
MOST_MISSED = 100
#: A tick that is later than this counts as missed.
LATE = timedelta(seconds=60)
#: A tick that is held back until a run is over is looked at again after so long, if that end is not seen before.
HELD = timedelta(seconds=60)
_SHORTEST_WINDOW, _LONGEST_WINDOW = timedelta(minutes=1), timedelta(hours=24)
_PHASES, _UNIT = 2**31, timedelta(microseconds=1)
_WINDOW = re.compile(r"([1-9][0-9]{0,3})([mh%])")


class BadWindow(ValueError):
    """The window cannot be used."""


class Overlap(StrEnum):
    """What a tick does while a run of the schedule is not over."""

    ALLOW = "allow"  # it fires all the same
    SKIP = "skip"  # it fires nothing
    QUEUE = "queue"  # it fires when that run is over
    REPLACE = "replace"  # that run is cancelled; it fires when that is over


class CatchUp(StrEnum):
    """What is made of ticks that nobody fired in time."""

    NONE = "none"  # nothing
    LAST = "last"  # the newest of them fires
    ALL = "all"  # they all do, the newest MOST_MISSED at most


@dataclass(frozen=True, slots=True)
class Window:
    """How far ticks are spread: over a time, or over a share of the time to the next tick."""

    time: timedelta | None = None
    share: float | None = None

    def range(self, interval: timedelta) -> timedelta:
        """The time over which the ticks of all schedules are spread."""
        wide = self.time if self.time is not None else interval * (self.share or 0)
        return min(interval, max(_SHORTEST_WINDOW, wide))


def window(text: str) -> Window:
    """A window as the wire has it: `30m`, `2h`, `25%`. `BadWindow`."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise BadWindow('write a window like "30m", "2h" or "25%"')
    number, unit = int(found[1]), found[2]
    if unit == "%":
        if number > 100:
            raise BadWindow("a window has 100% at most")
        return Window(share=number / 100)
    time = timedelta(minutes=number) if unit == "m" else timedelta(hours=number)
    if time > _LONGEST_WINDOW:
        raise BadWindow("a window has 24 hours at most")
    return Window(time=time)


def phase(secret: bytes, environment: str, key: str) -> int:
    """A schedule's place in its window, the same for good: from 0 to 2^31 - 1."""
    message = json.dumps(["cron-phase-v1", environment, key], separators=(",", ":")).encode()
    return int.from_bytes(hmac.new(secret, message, hashlib.sha256).digest()[:4], "big") & (_PHASES - 1)


@dataclass(frozen=True, slots=True)
class Timetable:
    """The ticks of one schedule."""

    expression: Expression
    zone: ZoneInfo
    window: Window | None
    phase: int

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment."""
        return cron.next_after(self.expression, self.zone, moment)

    def upcoming(self, tick: datetime) -> list[datetime]:
        """The ticks that follow one."""
        found: list[datetime] = []
        for each in cron.ticks(self.expression, self.zone, tick):
            found.append(each)
            if len(found) == UPCOMING:
                break
        return found

    def due(self, tick: datetime) -> datetime:
        """When a tick is to fire: always before the next one is named."""
        if self.window is None:
            return tick
        following = self.after(tick)
        if following is None:
            return tick
        wide = self.window.range(following - tick) // _UNIT
        return tick + wide * self.phase // _PHASES * _UNIT

    def missed(self, first: datetime, now: datetime, most: int) -> list[datetime]:
        """The ticks from `first` on that are due by now: the newest so many, oldest first."""
        found = cron.newest(self.expression, self.zone, first, now, most + 1)
        if found and self.due(found[-1]) > now:
            found.pop()
        return found[-most:]


def timetable(expression: str, zone: str, window_text: str | None, phase: int) -> Timetable:
    """The timetable of a schedule. `BadCron`, `BadZone`, `BadWindow`."""
    spread = window(window_text) if window_text is not None else None
    return Timetable(cron.parse(expression), cron.zone(zone), spread, phase)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a schedule stands: the tick that is next, whether it waits for a run's end (`held`), whether one lives."""

    next_tick: datetime
    overlap: Overlap
    catch_up: CatchUp
    held: bool
    lives: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """`fires`: the ticks that become runs; then the schedule stands at `next_tick`, and looks again at `due`."""

    fires: Sequence[datetime]
    next_tick: datetime | None
    due: datetime | None
    held: bool = False


def plan(table: Timetable, stands: Standing, now: datetime) -> Plan:
    """What is to be done for a schedule whose next tick may be due."""
    missed = table.missed(stands.next_tick, now, MOST_MISSED if _needs_all(stands) else 1)
    if not missed:
        # Looked for again: a zone's rules may have changed since, so that this is no tick any more.
        return _stand(table, (), table.after(stands.next_tick - _UNIT), held=stands.held)
    if stands.lives and stands.overlap in (Overlap.QUEUE, Overlap.REPLACE):
        return Plan((), stands.next_tick, now + HELD, held=True)
    following = table.after(missed[-1])
    if stands.lives and stands.overlap is Overlap.SKIP:
        return _stand(table, (), following)
    fires = _made_up_for(table, stands, missed, now)
    if stands.overlap is Overlap.QUEUE and len(fires) > 1:
        return _stand(table, fires[:1], fires[1], held=True)
    return _stand(table, fires, following)


def _needs_all(stands: Standing) -> bool:
    """Whether more than the newest of the ticks that are due may fire."""
    # What was held back did so in line; where ticks may fire beside a run by now, the whole line does.
    if stands.held and stands.overlap in (Overlap.ALLOW, Overlap.QUEUE):
        return True
    return stands.catch_up is CatchUp.ALL and stands.overlap in (Overlap.ALLOW, Overlap.QUEUE)


def _made_up_for(table: Timetable, stands: Standing, missed: Sequence[datetime], now: datetime) -> Sequence[datetime]:
    """Those of the ticks that fire. What was held back waited in time, and is not missed."""
    if stands.catch_up is CatchUp.NONE and not stands.held and now - table.due(missed[-1]) > LATE:
        return ()
    return missed


def _stand(table: Timetable, fires: Sequence[datetime], tick: datetime | None, *, held: bool = False) -> Plan:
    return Plan(fires, tick, None if tick is None else table.due(tick), held)
