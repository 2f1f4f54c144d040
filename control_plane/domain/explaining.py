"""Why a run does not run: the causes, read off its state, the limits and who holds the slots. Pure."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sojourn.control_plane.domain.fair_limits import EnvironmentLimits, Limits, QueueLimits
from sojourn.sdk.protocol import SnapshotStatus

S = SnapshotStatus


class Reason(StrEnum):
    """What keeps a run."""

    PAUSED = "PAUSED"
    LIMIT_REACHED = "LIMIT_REACHED"
    RATE_REACHED = "RATE_REACHED"
    NO_CAPACITY = "NO_CAPACITY"
    STARTING = "STARTING"
    NO_VERSION = "NO_VERSION"
    DELAYED = "DELAYED"
    RETRY_LATER = "RETRY_LATER"
    WAITPOINTS = "WAITPOINTS"
    NOT_INDEXED = "NOT_INDEXED"


class Scope(StrEnum):
    """Whose limit, or whose pause."""

    KEY = "key"
    QUEUE = "queue"
    ENVIRONMENT = "environment"
    ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class Held:
    """How many runs hold the slots of one limit, and some of them."""

    count: int = 0
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A run in the fair queue: who holds the slots that it needs, and how many of its own line are ahead of it.

    `in_flight`: it was dequeued already. `queue_pace`, `key_pace`: when the next start is due at an even rate, in ms; None
    where that is past, or no rate is for it.
    """

    organization: Held
    environment: Held
    queue: Held
    key: Held
    in_flight: bool = False
    ahead: int = 0
    queue_pace: float | None = None
    key_pace: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store says of a run. `told`: what was said when it could not be placed, if that was the last of it."""

    status: str
    environment: str
    queue: str
    key: str
    attempt: int = 0
    available_at: datetime | None = None
    told: str | None = None
    task: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that keeps a run, in words and in numbers. `held`: slots in use; `holders`: some of the runs that do.

    `todo`: what whoever wants it to run has to do, where waiting alone does not help.
    """

    reason: Reason
    message: str
    scope: Scope | None = None
    limit: int | None = None
    held: int | None = None
    holders: tuple[str, ...] = ()
    until: datetime | None = None
    ahead: int | None = None
    todo: str | None = None


def causes(run: Standing, limits: Limits, line: Line | None, now: datetime) -> list[Cause]:
    """Everything that keeps a run now; none for one that runs or is over. `line`: None if the queue does not know it."""
    if run.status in (S.QUEUED, S.QUEUED_EXECUTING):
        return _of_queued(run, limits, line, now)
    if run.status == S.DELAYED:
        return [_of_delayed(run)]
    if run.status == S.RUN_CREATED:
        return [_no_version(run)]
    cause = _OF_STATUS.get(run.status)
    return [cause] if cause else []


def _of_queued(run: Standing, limits: Limits, line: Line | None, now: datetime) -> list[Cause]:
    if line is None:
        return [Cause(Reason.NOT_INDEXED, "the queue does not know the run yet: the next sweep adds it")]
    if line.in_flight:
        return [_STARTING]
    kept = _pauses(run, limits) + _limits_reached(run, limits, line) + _rates_reached(run, limits, line, now)
    return kept or [_no_capacity(run, line)]


def _pauses(run: Standing, limits: Limits) -> list[Cause]:
    found = []
    if _queue(run, limits).paused:
        todo = f"let it go on: `sojourn queues resume {shlex.quote(run.queue)}`, or the API's `resume`"
        found.append(Cause(Reason.PAUSED, f"the queue {run.queue} is paused", Scope.QUEUE, todo=todo))
    if _environment(run, limits).paused:
        found.append(Cause(Reason.PAUSED, "the environment is paused", Scope.ENVIRONMENT))
    return found


def _limits_reached(run: Standing, limits: Limits, line: Line) -> list[Cause]:
    """A queue's own limit holds for each key by itself; all of a queue may use the environment's, without the burst."""
    queue, environment = _queue(run, limits), _environment(run, limits)
    plain = environment.concurrency
    whole = None if plain is None else math.floor(plain * environment.burst)
    reached = [
        *_of_queue(run, queue, line),
        *_reached(Scope.ENVIRONMENT, "the environment", whole, line.environment),
        *_reached(Scope.ORGANIZATION, "the organization", limits.concurrency, line.organization),
    ]
    if any(cause.scope in (Scope.QUEUE, Scope.ENVIRONMENT) for cause in reached):
        return reached
    who = f"the queue {run.queue}, which may not use the environment's burst,"
    return reached + _reached(Scope.QUEUE, who, plain, line.queue)


def _of_queue(run: Standing, queue: QueueLimits, line: Line) -> list[Cause]:
    who = f"the queue {run.queue}"
    if queue.concurrency == 0:  # whatever its keys have
        return _reached(Scope.QUEUE, who, 0, line.queue)
    scope, whose = (Scope.KEY, f"{who} for the key {run.key}") if run.key else (Scope.QUEUE, who)
    return _reached(scope, whose, queue.of_key(run.key), line.key)


def _reached(scope: Scope, who: str, limit: int | None, held: Held) -> list[Cause]:
    if limit is None or held.count < limit:
        return []
    return [Cause(Reason.LIMIT_REACHED, f"{who} is at its limit of {limit}", scope, limit, held.count, held.runs)]


def _rates_reached(run: Standing, limits: Limits, line: Line, now: datetime) -> list[Cause]:
    queue = _queue(run, limits)
    checks = (
        (Scope.QUEUE, queue.rate, line.queue_pace, f"the queue {run.queue} has"),
        (Scope.KEY, queue.rate_of_key(run.key), line.key_pace, f"the queue {run.queue} has for the key {run.key}"),
    )
    found = [
        (scope, who, datetime.fromtimestamp(rate.opens(pace) / 1000, UTC))
        for scope, rate, pace, who in checks
        if rate is not None and pace is not None
    ]
    return [
        Cause(Reason.RATE_REACHED, f"{who} started as many runs as its rate lets it", scope, until=until)
        for scope, who, until in found
        if until > now
    ]


def _no_capacity(run: Standing, line: Line) -> Cause:
    why = run.told or "no executor is free"
    behind = f"; {line.ahead} of its line are ahead of it" if line.ahead else ""
    return Cause(Reason.NO_CAPACITY, why + behind, ahead=line.ahead)


def _no_version(run: Standing) -> Cause:
    return Cause(
        Reason.NO_VERSION,
        f"no version that it may run on has its task {run.task}",
        todo="deploy a version that has it; or, if another task was meant, trigger that and cancel this run",
    )


def _of_delayed(run: Standing) -> Cause:
    if run.attempt:
        return Cause(Reason.RETRY_LATER, "it failed and waits before it tries again", until=run.available_at)
    return Cause(Reason.DELAYED, "its start lies ahead", until=run.available_at)


def _queue(run: Standing, limits: Limits) -> QueueLimits:
    return limits.queue(run.environment, run.queue)


def _environment(run: Standing, limits: Limits) -> EnvironmentLimits:
    return limits.environments.get(run.environment, EnvironmentLimits())


_STARTING = Cause(Reason.STARTING, "an executor has it, or is being started for it")
_WAITS = Cause(Reason.WAITPOINTS, "it waits for what its code has asked for")
_OF_STATUS: dict[str, Cause] = {
    S.PENDING_EXECUTING: _STARTING,
    S.EXECUTING_WITH_WAITPOINTS: _WAITS,
    S.SUSPENDED: _WAITS,
}
