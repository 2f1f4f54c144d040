"""From what is recorded of an executor and what Nomad tells of it to what is to be done. Pure; the caller applies it.

| recorded | Nomad tells | actions |
|---|---|---|
| unknown here | anything | none: it is somebody else's |
| lives, not bound | an allocation | bind it |
| lives, bound | its allocation runs | running |
| lives | its allocation is over | end, by how it ended |
| lives | its node is lost | doubt: it may run and beat all the same, so that the run's lease decides |
| lives, doubted for long | its node is lost | end, and stop the job so that it ends there, too, should the node return |
| lives | its allocation is disconnected | none: the same |
| lives | another allocation | none: that is refused, and leaves by itself |
| lives, not bound | no node for it | end: the run waits in Sojourn's queue, not in Nomad's; stop the job |
| lives, not bound or bound | its job is unknown | end |
| lives, bound | its allocation is unknown, others of its job are over | end |
| ended | an allocation that may run | stop the job: it returned, or Nomad replaced it |
| ended | no node for it | stop the job: what was given up must not be placed once there is room |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sojourn.control_plane.domain import exits
from sojourn.nomad_jobs.facts import Allocation, Fact, Gone, Unplaced


class Ending(StrEnum):
    """Why an executor is gone."""

    EXITED = "EXITED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NOT_STARTED = "NOT_STARTED"
    NO_NODE = "NO_NODE"
    FULL = "FULL"
    LOST = "LOST"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is known of an executor here. `is_given_up`: its node is lost, and so is it: nobody heard of it."""

    executor: str
    allocation: str | None
    has_ended: bool
    is_given_up: bool = False


@dataclass(frozen=True, slots=True)
class Bind:
    """The allocation is the executor."""

    executor: str
    job: str
    allocation: str
    node: str
    node_name: str


@dataclass(frozen=True, slots=True)
class Running:
    """The executor's task was started."""

    executor: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """The executor's node is lost to Nomad. Whether it is lost to us, its heartbeats tell."""

    executor: str


@dataclass(frozen=True, slots=True)
class End:
    """The executor is gone."""

    executor: str
    why: Ending
    reason: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The job is to be deregistered: nothing of it may run on, and nothing of it may be placed."""

    job: str
    namespace: str


Action = Bind | Running | Doubt | End | Stop


def reconcile(recorded: Recorded | None, fact: Fact) -> list[Action]:
    """What is to be done, in this order."""
    if recorded is None:
        return []
    if isinstance(fact, Gone):
        return [] if recorded.has_ended else [End(fact.executor, Ending.LOST, fact.reason)]
    if isinstance(fact, Unplaced):
        return _unplaced(recorded, fact)
    if recorded.has_ended:
        return [Stop(fact.job, fact.namespace)] if fact.is_alive and fact.is_wanted else []
    if recorded.allocation not in (None, fact.id):
        return []
    actions: list[Action] = []
    if recorded.allocation is None:
        actions.append(Bind(fact.executor, fact.job, fact.id, fact.node, fact.node_name))
    return actions + _progress(recorded, fact)


def _unplaced(recorded: Recorded, fact: Unplaced) -> list[Action]:
    if recorded.has_ended:
        return [Stop(fact.job, fact.namespace)]
    if recorded.allocation is not None:
        return []
    if fact.is_full:
        end = End(fact.executor, Ending.FULL, f"waiting for capacity: {fact.reason}")
    else:
        end = End(fact.executor, Ending.NO_NODE, f"Nomad could not place it: {fact.reason}")
    return [end, Stop(fact.job, fact.namespace)]


def _progress(recorded: Recorded, fact: Allocation) -> list[Action]:
    """How far an executor's own allocation has come."""
    if fact.status == "running":
        return [Running(fact.executor)]
    if fact.status == "lost":
        if not recorded.is_given_up:
            return [Doubt(fact.executor)]
        reason = f"its node {fact.node_name or fact.node} is lost"
        return [End(fact.executor, Ending.LOST, reason), Stop(fact.job, fact.namespace)]
    if fact.is_alive:
        return []
    if fact.out_of_memory:
        reason = "the kernel ended it: it used more memory than its allocation has"
        return [End(fact.executor, Ending.OUT_OF_MEMORY, reason, fact.exit_code)]
    if fact.exit_code is not None:
        return [End(fact.executor, Ending.EXITED, exits.told(fact.exit_code), fact.exit_code)]
    if fact.has_started:
        return [End(fact.executor, Ending.LOST, f"its allocation ended: {fact.failure or fact.status}")]
    return [End(fact.executor, Ending.NOT_STARTED, f"Nomad could not start it: {fact.failure or fact.status}")]
