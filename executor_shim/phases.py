"""The phases of an executor as one table: (from, event, to, why). Pure; the shim asks it before every step."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """What an executor is doing."""

    BOOTING = "BOOTING"  # fetches its version's tree, starts the user's process
    IDLE = "IDLE"  # tells of the last attempt, asks for a run
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


P, E = Phase, Event
#: from, event, to, why
STEPS: tuple[tuple[Phase, Event, Phase, str], ...] = (
    (P.BOOTING, E.READY, P.IDLE, "the tree is there, or it is known why not: its run is told"),
    (P.BOOTING, E.DRAIN, P.DRAINING, "told to leave before the first run"),
    (P.BOOTING, E.LEAVE, P.GONE, "refused, or the control plane does not answer"),
    (P.IDLE, E.WORK, P.RUNNING, "it was given a run"),
    (P.IDLE, E.RETRY, P.RETRYING, "its last run is tried again shortly"),
    (P.IDLE, E.DRAIN, P.DRAINING, "told to leave; it takes its leave of the control plane"),
    (P.IDLE, E.LEAVE, P.GONE, "idle for too long, not wanted, refused, or others are due"),
    (P.RUNNING, E.ENDED, P.IDLE, "the attempt ended by itself; it is told with the next request"),
    (P.RUNNING, E.CANCEL, P.CANCELLING, "the user cancelled the run"),
    (P.RUNNING, E.STOP, P.STOPPING, "too long, too large, no longer ours, out of touch, or a drain's grace is over"),
    (P.CANCELLING, E.ENDED, P.IDLE, "hooks done, the task's code stopped"),
    (P.CANCELLING, E.STOP, P.STOPPING, "the grace is over, or the run is no longer ours"),
    (P.STOPPING, E.ENDED, P.IDLE, "the process tree is gone"),
    (P.RETRYING, E.STARTED, P.RUNNING, "the next attempt begins"),
    (P.RETRYING, E.ENDED, P.IDLE, "cancelled between two attempts, no longer ours, or told to leave"),
    (P.RETRYING, E.LEAVE, P.GONE, "refused, or the control plane does not answer"),
    (P.DRAINING, E.LEAVE, P.GONE, "nothing is left to tell"),
)
_BY = {(source, event): target for source, event, target, _ in STEPS}


class IllegalStep(Exception):
    """The phase has no such event."""


def after(phase: Phase, event: Event) -> Phase:
    """The phase that `event` leads to."""
    if (phase, event) not in _BY:
        raise IllegalStep(f"{event} cannot happen in {phase}")
    return _BY[phase, event]


class Course:
    """Where one executor stands."""

    def __init__(self) -> None:
        self.phase = Phase.BOOTING

    def step(self, event: Event) -> None:
        """Moves on; `IllegalStep` leaves it where it was."""
        self.phase = after(self.phase, event)
