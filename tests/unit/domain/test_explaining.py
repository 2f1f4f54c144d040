"""Why a run waits: one case for each answer, and what is left out where another answer says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn.control_plane.domain.explaining import Held, Line, Reason, Scope, Standing, causes
from sojourn.control_plane.domain.fair_limits import EnvironmentLimits, KeyLimits, Limits, QueueLimits, Rate
from sojourn.sdk.protocol import SnapshotStatus

AT = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
NOBODY = Line(Held(), Held(), Held(), Held())


def standing(status: str = "QUEUED", **given: Any) -> Standing:
    return Standing(status=status, **({"environment": "env", "queue": "q", "key": ""} | given))


def limits(organization: int | None = None, queue: QueueLimits | None = None, **environment: Any) -> Limits:
    queues = {("env", "q"): queue} if queue else {}
    return Limits(organization, environments={"env": EnvironmentLimits(**environment)}, queues=queues)


def line(organization: int = 0, environment: int = 0, queue: int = 0, key: int = 0, **more: Any) -> Line:
    held = [Held(count, tuple(f"run_{n}" for n in range(count))) for count in (organization, environment, queue, key)]
    return Line(held[0], held[1], held[2], held[3], **more)


def said(run: Standing, given: Limits, seen: Line | None) -> list[tuple[Reason, Scope | None, int | None, int | None]]:
    return [(cause.reason, cause.scope, cause.limit, cause.held) for cause in causes(run, given, seen, AT)]


@pytest.mark.parametrize("status", ["EXECUTING", "FINISHED", "PENDING_CANCEL"])
def test_a_run_that_runs_or_is_over_waits_for_nothing(status: str) -> None:
    assert causes(standing(status), limits(), None, AT) == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("RUN_CREATED", Reason.NO_VERSION),
        ("PENDING_EXECUTING", Reason.STARTING),
        ("EXECUTING_WITH_WAITPOINTS", Reason.WAITPOINTS),
        ("SUSPENDED", Reason.WAITPOINTS),
    ],
)
def test_what_the_status_says_by_itself(status: str, reason: Reason) -> None:
    assert said(standing(status), limits(), None) == [(reason, None, None, None)]


def test_every_status_is_decided() -> None:
    for status in SnapshotStatus:
        found = causes(standing(status, available_at=AT), limits(), NOBODY, AT)
        assert len(found) == (status not in ("EXECUTING", "FINISHED", "PENDING_CANCEL"))


def test_a_delay_and_a_pause_before_a_retry() -> None:
    [cause] = causes(standing("DELAYED", available_at=AT), limits(), None, AT)
    assert (cause.reason, cause.until) == (Reason.DELAYED, AT)
    [cause] = causes(standing("DELAYED", available_at=AT, attempt=2), limits(), None, AT)
    assert (cause.reason, cause.until) == (Reason.RETRY_LATER, AT)


def test_what_the_queue_does_not_know_or_has_given_out() -> None:
    assert said(standing(), limits(), None) == [(Reason.NOT_INDEXED, None, None, None)]
    assert said(standing(), limits(), line(in_flight=True)) == [(Reason.STARTING, None, None, None)]


@pytest.mark.parametrize("status", ["QUEUED", "QUEUED_EXECUTING"])
def test_pauses_are_told_beside_limits(status: str) -> None:
    given = limits(1, QueueLimits(paused=True), concurrency=5, paused=True)
    assert said(standing(status), given, line(organization=1)) == [
        (Reason.PAUSED, Scope.QUEUE, None, None),
        (Reason.PAUSED, Scope.ENVIRONMENT, None, None),
        (Reason.LIMIT_REACHED, Scope.ORGANIZATION, 1, 1),
    ]


def test_a_queues_limit_is_the_keys_where_there_is_one() -> None:
    given = limits(queue=QueueLimits(2), concurrency=10)
    assert said(standing(), given, line(2, 2, 2, 2)) == [(Reason.LIMIT_REACHED, Scope.QUEUE, 2, 2)]
    assert said(standing(key="k"), given, line(9, 9, 9, 2)) == [(Reason.LIMIT_REACHED, Scope.KEY, 2, 2)]
    assert said(standing(key="k"), given, line(9, 9, 9, 1)) == [(Reason.NO_CAPACITY, None, None, None)]


def test_a_key_may_have_a_limit_of_its_own() -> None:
    given = limits(queue=QueueLimits(5, keys={"k": KeyLimits(2, Rate(1_000))}), concurrency=10)
    assert said(standing(key="k"), given, line(9, 9, 9, 2)) == [(Reason.LIMIT_REACHED, Scope.KEY, 2, 2)]
    assert said(standing(key="other"), given, line(9, 9, 9, 2)) == [(Reason.NO_CAPACITY, None, None, None)]
    pace: dict[str, Any] = {"key_pace": AT.timestamp() * 1000 + 500}
    assert said(standing(key="k"), given, line(**pace)) == [(Reason.RATE_REACHED, Scope.KEY, None, None)]
    assert said(standing(key="other"), given, line(**pace)) == [(Reason.NO_CAPACITY, None, None, None)]
    closed = limits(queue=QueueLimits(0, keys={"k": KeyLimits(2)}))
    assert said(standing(key="k"), closed, NOBODY) == [(Reason.LIMIT_REACHED, Scope.QUEUE, 0, 0)]


def test_a_limit_of_nothing_is_reached() -> None:
    assert said(standing(), limits(queue=QueueLimits(0)), NOBODY) == [(Reason.LIMIT_REACHED, Scope.QUEUE, 0, 0)]


def test_the_environments_limit_has_its_burst_and_a_queue_alone_has_not() -> None:
    given = limits(concurrency=4, burst=1.5)
    assert said(standing(), given, line(6, 6, 3, 3)) == [(Reason.LIMIT_REACHED, Scope.ENVIRONMENT, 6, 6)]
    assert said(standing(), given, line(5, 5, 4, 1)) == [(Reason.LIMIT_REACHED, Scope.QUEUE, 4, 4)]
    assert said(standing(), given, line(6, 6, 4, 1)) == [(Reason.LIMIT_REACHED, Scope.ENVIRONMENT, 6, 6)]


def test_slots_beyond_a_limit_that_was_lowered() -> None:
    [cause] = causes(standing(), limits(queue=QueueLimits(1)), line(3, 3, 3, 3), AT)
    assert (cause.limit, cause.held, cause.holders) == (1, 3, ("run_0", "run_1", "run_2"))


def test_nothing_but_room_is_missing() -> None:
    [cause] = causes(standing(), limits(concurrency=5), line(ahead=3), AT)
    assert (cause.reason, cause.ahead) == (Reason.NO_CAPACITY, 3) and "no executor" in cause.message
    [cause] = causes(standing(told="no node has 4 GB free"), limits(concurrency=5), NOBODY, AT)
    assert cause.message == "no node has 4 GB free"


def test_rates_that_let_nothing_start_yet() -> None:
    given = limits(queue=QueueLimits(rate=Rate(1_000, 2), key_rate=Rate(500)))
    now = AT.timestamp() * 1000
    paces: dict[str, Any] = {"queue_pace": now + 1_500, "key_pace": now + 400}
    [queue, key] = causes(standing(key="k"), given, line(**paces), AT)
    assert (queue.reason, queue.scope, queue.until) == (Reason.RATE_REACHED, Scope.QUEUE, AT + timedelta(milliseconds=500))
    assert (key.reason, key.scope, key.until) == (Reason.RATE_REACHED, Scope.KEY, AT + timedelta(milliseconds=400))
    later = AT + timedelta(milliseconds=450)
    assert [cause.scope for cause in causes(standing(), given, line(**paces), later)] == [Scope.QUEUE]
    assert said(standing(), limits(), line(**paces)) == [(Reason.NO_CAPACITY, None, None, None)]


def test_a_queue_s_limit_of_0_is_the_queue_s_whatever_the_key_has() -> None:
    queue = QueueLimits(concurrency=0, keys={"k": KeyLimits(5)})
    [cause] = causes(standing(key="k"), limits(queue=queue), line(queue=2, key=1), AT)
    assert (cause.scope, cause.limit, cause.held) == (Scope.QUEUE, 0, 2)
    assert cause.message == "the queue q is at its limit of 0"
