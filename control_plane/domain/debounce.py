"""Debouncing: triggers that follow each other closely are one run, which starts when they have come to rest. Pure.

The first trigger of a key makes a run that waits for `delay`. While it waits, each further trigger puts its start off to
`delay` from then, in whole seconds, rounded up; never to a time before the one that it has, and never beyond `max_delay`
after the first trigger. Once its time has come it is left alone, and the next trigger begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

SHORTEST_DELAY = timedelta(seconds=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Debounce:
    """What a trigger asks for. `trailing`: the run has the last trigger's payload, not the first one's."""

    key: str
    delay: timedelta
    trailing: bool = False
    max_delay: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """The run that a key leads to: when its first trigger came, and when it is to start.

    `is_open`: it waits for that, or for a version that has its task.
    """

    run: str
    first_at: datetime
    start_at: datetime
    is_open: bool


@dataclass(frozen=True, slots=True)
class Begin:
    """A run of its own."""

    start_at: datetime


@dataclass(frozen=True, slots=True)
class Join:
    """The run that is there, which starts then. `replaces`: with what this trigger says."""

    run: str
    start_at: datetime
    replaces: bool


def decide(wish: Debounce, held: Held | None, now: datetime) -> Begin | Join:
    """What becomes of a trigger at that moment."""
    if held is None or not held.is_open:
        return Begin(now + wish.delay)
    wanted = _rounded_up(now + wish.delay)
    if wish.max_delay is not None:
        wanted = min(wanted, held.first_at + wish.max_delay)
    return Join(held.run, max(wanted, held.start_at), wish.trailing)


def name_of(task: str, key: str) -> str:
    """Under what a task's key is held: 64 hexadecimal digits."""
    return sha256(f"{len(task)} {task}{key}".encode()).hexdigest()


def _rounded_up(moment: datetime) -> datetime:
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + _SECOND
