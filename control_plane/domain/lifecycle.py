"""The state machine of a run as one table; the SQL checks, the docs page and the status colours are drawn from it.

A run stands in a snapshot status (what the platform does with it) and shows a run status (what its user sees).
Every move is named by an event; an event that has no row for the status a run stands in is refused.
Waits (BLOCK to RESUME) belong to the table because a run's history is checked against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sojourn.sdk.protocol import FINAL_STATUSES, RunStatus, SnapshotStatus


class Event(StrEnum):
    """What can happen to a run."""

    TRIGGER = "TRIGGER"
    TRIGGER_DELAYED = "TRIGGER_DELAYED"
    TRIGGER_UNVERSIONED = "TRIGGER_UNVERSIONED"
    TRIGGER_FAILED = "TRIGGER_FAILED"
    RESCHEDULE = "RESCHEDULE"
    DUE = "DUE"
    VERSION_FOUND = "VERSION_FOUND"
    VERSION_FOUND_DELAYED = "VERSION_FOUND_DELAYED"
    VERSION_MISSING = "VERSION_MISSING"
    DEQUEUE = "DEQUEUE"
    START = "START"
    REQUEUE = "REQUEUE"
    HAND_BACK = "HAND_BACK"
    RETRY_NOW = "RETRY_NOW"
    RETRY_LATER = "RETRY_LATER"
    SUCCEED = "SUCCEED"
    FAIL = "FAIL"
    CANCEL = "CANCEL"
    CANCEL_ACKNOWLEDGED = "CANCEL_ACKNOWLEDGED"
    EXPIRE = "EXPIRE"
    BLOCK = "BLOCK"
    UNBLOCK_QUEUED = "UNBLOCK_QUEUED"
    READMIT = "READMIT"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"
    CONTINUE = "CONTINUE"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: a run in `source` to which `event` happens comes to stand in `target`, showing one of `shows`."""

    source: SnapshotStatus | None
    event: Event
    target: SnapshotStatus
    shows: tuple[RunStatus, ...]
    why: str


S = SnapshotStatus
R = RunStatus
E = Event
_FAILED = (R.FAILED, R.CRASHED, R.TIMED_OUT, R.SYSTEM_FAILURE)

TRANSITIONS: tuple[Transition, ...] = (
    Transition(None, E.TRIGGER, S.QUEUED, (R.QUEUED,), "it may run now"),
    Transition(None, E.TRIGGER_DELAYED, S.DELAYED, (R.DELAYED,), "its start lies in the future"),
    Transition(None, E.TRIGGER_UNVERSIONED, S.RUN_CREATED, (R.PENDING_VERSION,), "no version has its task yet"),
    Transition(
        None,
        E.TRIGGER_FAILED,
        S.FINISHED,
        (R.SYSTEM_FAILURE,),
        "an item of a batch that cannot be triggered: whoever waits for it has its error",
    ),
    Transition(S.DELAYED, E.RESCHEDULE, S.DELAYED, (R.DELAYED,), "its start was put off, or brought forward"),
    Transition(S.DELAYED, E.DUE, S.QUEUED, (R.QUEUED,), "the delay, or the wait before a retry, is over"),
    Transition(S.RUN_CREATED, E.VERSION_FOUND, S.QUEUED, (R.QUEUED,), "a deployed version has its task"),
    Transition(S.RUN_CREATED, E.VERSION_FOUND_DELAYED, S.DELAYED, (R.DELAYED,), "as above, but it is not due yet"),
    Transition(S.QUEUED, E.VERSION_MISSING, S.RUN_CREATED, (R.PENDING_VERSION,), "the current version lost its task"),
    Transition(
        S.QUEUED,
        E.DEQUEUE,
        S.PENDING_EXECUTING,
        (R.DEQUEUED, R.WAITING),  # a frozen run shows WAITING until it goes on
        "it won its slots and an executor",
    ),
    Transition(S.QUEUED, E.FAIL, S.FINISHED, _FAILED, "it can never run: no attempt is made"),
    Transition(S.PENDING_EXECUTING, E.START, S.EXECUTING, (R.EXECUTING,), "the executor begins an attempt"),
    Transition(
        S.PENDING_EXECUTING,
        E.CONTINUE,
        S.EXECUTING,
        (R.EXECUTING,),
        "its process is thawed; the same attempt goes on",
    ),
    Transition(
        S.PENDING_EXECUTING,
        E.REQUEUE,
        S.QUEUED,
        (R.QUEUED, R.WAITING),
        "no executor took it up in time, or could thaw it",
    ),
    Transition(
        S.PENDING_EXECUTING,
        E.RETRY_LATER,
        S.DELAYED,
        (R.QUEUED,),
        "its frozen process is given up; the next attempt starts anew",
    ),
    Transition(
        S.PENDING_EXECUTING,
        E.FAIL,
        S.FINISHED,
        _FAILED,
        "no executor ever takes it up, or its code is missing",
    ),
    Transition(S.EXECUTING, E.RETRY_NOW, S.PENDING_EXECUTING, (R.EXECUTING,), "the same executor tries again shortly"),
    Transition(S.EXECUTING, E.RETRY_LATER, S.DELAYED, (R.QUEUED,), "it tries again later, through the queue"),
    Transition(S.EXECUTING, E.HAND_BACK, S.QUEUED, (R.QUEUED,), "its executor had to leave; no attempt is charged"),
    Transition(S.EXECUTING, E.SUCCEED, S.FINISHED, (R.COMPLETED,), "the task returned"),
    Transition(S.EXECUTING, E.FAIL, S.FINISHED, _FAILED, "an error that is not retried"),
    Transition(
        S.EXECUTING,
        E.SUSPEND,
        S.SUSPENDED,
        (R.WAITING,),
        "its executor has to leave: frozen in the middle of its work, it goes on elsewhere",
    ),
    Transition(S.EXECUTING, E.BLOCK, S.EXECUTING_WITH_WAITPOINTS, (R.EXECUTING,), "it waits, still in memory"),
    Transition(
        S.EXECUTING_WITH_WAITPOINTS,
        E.UNBLOCK_QUEUED,
        S.QUEUED_EXECUTING,
        (R.EXECUTING,),
        "the wait ended in memory, its slot was released meanwhile",
    ),
    Transition(
        S.EXECUTING_WITH_WAITPOINTS,
        E.SUSPEND,
        S.SUSPENDED,
        (R.WAITING,),
        "its process is frozen and published",
    ),
    Transition(S.EXECUTING_WITH_WAITPOINTS, E.FAIL, S.FINISHED, _FAILED, "it ended while it waited"),
    Transition(S.EXECUTING_WITH_WAITPOINTS, E.SUCCEED, S.FINISHED, (R.COMPLETED,), "a wait it no longer needed"),
    Transition(S.EXECUTING_WITH_WAITPOINTS, E.RETRY_LATER, S.DELAYED, (R.QUEUED,), "failed while it waited"),
    Transition(S.EXECUTING_WITH_WAITPOINTS, E.HAND_BACK, S.QUEUED, (R.QUEUED,), "its executor had to leave meanwhile"),
    Transition(S.QUEUED_EXECUTING, E.READMIT, S.EXECUTING, (R.EXECUTING,), "it won its slot again and goes on"),
    Transition(S.QUEUED_EXECUTING, E.FAIL, S.FINISHED, _FAILED, "it ended before it won its slot again"),
    Transition(S.QUEUED_EXECUTING, E.SUCCEED, S.FINISHED, (R.COMPLETED,), "a wait it no longer needed"),
    Transition(S.QUEUED_EXECUTING, E.RETRY_LATER, S.DELAYED, (R.QUEUED,), "failed before it won its slot again"),
    Transition(S.QUEUED_EXECUTING, E.HAND_BACK, S.QUEUED, (R.QUEUED,), "its executor had to leave meanwhile"),
    Transition(S.SUSPENDED, E.RESUME, S.QUEUED, (R.WAITING,), "the wait is over; it queues with its old place"),
    Transition(S.RUN_CREATED, E.CANCEL, S.FINISHED, (R.CANCELED,), "cancelled before it ran"),
    Transition(S.DELAYED, E.CANCEL, S.FINISHED, (R.CANCELED,), "cancelled before it ran (again)"),
    Transition(S.QUEUED, E.CANCEL, S.FINISHED, (R.CANCELED,), "cancelled before it ran (again)"),
    Transition(S.SUSPENDED, E.CANCEL, S.FINISHED, (R.CANCELED,), "cancelled while no process existed"),
    Transition(S.PENDING_EXECUTING, E.CANCEL, S.PENDING_CANCEL, (R.CANCELED,), "its executor is told to stop"),
    Transition(S.EXECUTING, E.CANCEL, S.PENDING_CANCEL, (R.CANCELED,), "its executor is told to stop"),
    Transition(S.EXECUTING_WITH_WAITPOINTS, E.CANCEL, S.PENDING_CANCEL, (R.CANCELED,), "its executor is told to stop"),
    Transition(S.QUEUED_EXECUTING, E.CANCEL, S.PENDING_CANCEL, (R.CANCELED,), "its executor is told to stop"),
    Transition(
        S.PENDING_CANCEL,
        E.CANCEL_ACKNOWLEDGED,
        S.FINISHED,
        (R.CANCELED,),
        "the executor stopped it, or was given up",
    ),
    Transition(
        S.QUEUED,
        E.EXPIRE,
        S.FINISHED,
        (R.EXPIRED,),
        "its time to live ended before it was first dequeued; a hook's, each time that it waits",
    ),
    Transition(S.RUN_CREATED, E.EXPIRE, S.FINISHED, (R.EXPIRED,), "its time to live ended with no version"),
)

_BY_SOURCE = {(row.source, row.event): row for row in TRANSITIONS}

#: A run in one of these occupies its concurrency slots.
SLOT_HOLDING = frozenset({S.PENDING_EXECUTING, S.EXECUTING, S.PENDING_CANCEL})
#: A run in one of these has an executor that must beat before the lease ends.
LEASED = frozenset({S.PENDING_EXECUTING, S.EXECUTING, S.EXECUTING_WITH_WAITPOINTS, S.QUEUED_EXECUTING, S.PENDING_CANCEL})

#: The process of a run in one of these waits in memory, and holds no slots.
BLOCKED = frozenset({S.EXECUTING_WITH_WAITPOINTS, S.QUEUED_EXECUTING})
#: A run in one of these stands still until it has what it waits for.
STANDING = frozenset({S.EXECUTING_WITH_WAITPOINTS, S.SUSPENDED})
#: What comes of a wait of the attempt's own: its executor may not have heard of it yet.
OF_A_WAIT = frozenset({E.BLOCK, E.UNBLOCK_QUEUED, E.READMIT})


class IllegalMove(Exception):
    """The run's status has no such event."""

    def __init__(self, source: SnapshotStatus | None, event: Event):
        super().__init__(f"{event} cannot happen to a run in {source}")
        self.source, self.event = source, event


def move(source: SnapshotStatus | None, event: Event) -> Transition:
    """The row for `event` in `source`, or `IllegalMove`."""
    row = _BY_SOURCE.get((source, event))
    if row is None:
        raise IllegalMove(source, event)
    return row


def sources(event: Event) -> list[SnapshotStatus]:
    """Every status in which `event` can happen, but for the first one of a run's life."""
    return [row.source for row in TRANSITIONS if row.event is event and row.source is not None]


def is_final(status: RunStatus | str) -> bool:
    """Whether a run that shows `status` has no more to come (a cancelled one may still be stopping)."""
    return status in FINAL_STATUSES


def shown_pairs() -> list[tuple[SnapshotStatus, RunStatus]]:
    """Every (snapshot status, run status) that a run may stand in, sorted."""
    return sorted({(row.target, status) for row in TRANSITIONS for status in row.shows})


def as_function_of_pairs() -> str:
    """SQL for the runs table: a function that says whether a (snapshot status, run status) may be stored."""
    return _sql_function("is_standing", 2, [" ".join(pair) for pair in shown_pairs()])


def as_function_of_moves() -> str:
    """SQL for the snapshots table: whether a (from status or nothing, event, status) may be stored."""
    moves = sorted((row.source or "", row.event, row.target) for row in TRANSITIONS)
    return _sql_function("is_move", 3, [" ".join(move) for move in moves])


def _sql_function(name: str, words: int, known: Iterable[str]) -> str:
    """PL/pgSQL, since its body is compiled once a session: a long CHECK is read anew by every statement."""
    parameters = ", ".join(["text"] * words)
    said = " || ' ' || ".join(f"coalesce(${n}, '')" for n in range(1, words + 1))
    rows = ",\n".join(f"        '{row}'" for row in known)
    return (
        f"CREATE OR REPLACE FUNCTION {name}({parameters}) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$\n"
        f"BEGIN\n    RETURN {said} = ANY (ARRAY[\n{rows}]);\nEND $$;\n"
    )


def as_mermaid() -> str:
    """The table as a state diagram for the docs."""
    lines = ["stateDiagram-v2"]
    for row in TRANSITIONS:
        lines.append(f"    {row.source or '[*]'} --> {row.target}: {row.event.lower()}")
    return "\n".join([*lines, "    FINISHED --> [*]"])
