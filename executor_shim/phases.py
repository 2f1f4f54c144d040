"""The phases of an executor as one table: (from, event, to, why). Pure; the shim asks it before every step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What an executor is doing."""

    BOOTING = "BOOTING"  # fetches its version's tree, starts the user's process
    IDLE = "IDLE"  # asks for a run
    RUNNING = "RUNNING"  # an attempt is under way
    RETRYING = "RETRYING"  # waits to start the next attempt of the same run
    CANCELLING = "CANCELLING"  # the user cancelled; hooks have their grace
    STOPPING = "STOPPING"  # the attempt is being ended by force
    DRAINING = "DRAINING"  # told to leave; nothing new is begun
    GONE = "GONE"


class Event(StrEnum):
    """What moves an executor on."""

    READY = "READY"
    WORK = "WORK"
    ENDED = "ENDED"
    RETRY = "RETRY"
    STARTED = "STARTED"
    CANCEL = "CANCEL"
    STOP = "STOP"
    DRAIN = "DRAIN"
    LEAVE = "LEAVE"


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the table."""

    source: Phase
    event: Event
    target: Phase
    why: str


P, E = Phase, Event
STEPS: tuple[Step, ...] = (
    Step(P.BOOTING, E.READY, P.IDLE, "the tree is there and the user's process starts"),
    Step(P.BOOTING, E.DRAIN, P.DRAINING, "told to leave before the first run"),
    Step(P.BOOTING, E.LEAVE, P.GONE, "the tree cannot be had"),
    Step(P.IDLE, E.WORK, P.RUNNING, "it was given a run"),
    Step(P.IDLE, E.RETRY, P.RETRYING, "its last run is tried again shortly"),
    Step(P.IDLE, E.DRAIN, P.DRAINING, "told to leave"),
    Step(P.IDLE, E.LEAVE, P.GONE, "idle for too long, not wanted, or others are due"),
    Step(P.RUNNING, E.ENDED, P.IDLE, "the attempt ended by itself; it is told with the next request"),
    Step(P.RUNNING, E.CANCEL, P.CANCELLING, "the user cancelled the run"),
    Step(P.RUNNING, E.STOP, P.STOPPING, "too long, too large, no longer ours, or out of touch"),
    Step(P.RUNNING, E.DRAIN, P.STOPPING, "the grace of a drain is over: the run is handed back"),
    Step(P.RETRYING, E.STARTED, P.RUNNING, "the next attempt begins"),
    Step(P.RETRYING, E.ENDED, P.IDLE, "the run has moved on meanwhile"),
    Step(P.RETRYING, E.CANCEL, P.IDLE, "cancelled between two attempts: there is nothing to stop"),
    Step(P.RETRYING, E.STOP, P.IDLE, "no longer ours"),
    Step(P.RETRYING, E.DRAIN, P.DRAINING, "told to leave between two attempts"),
    Step(P.CANCELLING, E.ENDED, P.IDLE, "hooks done, process ended"),
    Step(P.CANCELLING, E.STOP, P.STOPPING, "the grace is over"),
    Step(P.STOPPING, E.ENDED, P.IDLE, "the process tree is gone"),
    Step(P.DRAINING, E.LEAVE, P.GONE, "nothing is left to tell"),
)
_BY = {(step.source, step.event): step.target for step in STEPS}


class IllegalStep(Exception):
    """The phase has no such event."""


def after(phase: Phase, event: Event) -> Phase:
    """The phase that `event` leads to."""
    if (phase, event) not in _BY:
        raise IllegalStep(f"{event} cannot happen in {phase}")
    return _BY[phase, event]
