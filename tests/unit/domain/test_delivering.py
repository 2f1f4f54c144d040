"""Messages are tried again with growing pauses for three days; a webhook that fails on and on is given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.domain import delivering
from sojourn.control_plane.domain.delivering import LONGEST, MAX_FAILURES, Answer, next_attempt, why_disabled

NOW = datetime(2026, 3, 4, tzinfo=UTC)


@given(st.floats(0, 0.999))
def test_pauses_grow_and_end(unit_random: float) -> None:
    now, pauses = NOW, []
    due = next_attempt(1, NOW + LONGEST, now, unit_random)
    while due is not None:
        pauses.append(due - now)
        now = due
        due = next_attempt(len(pauses) + 1, NOW + LONGEST, now, unit_random)
    assert pauses == sorted(pauses)
    assert 5 <= pauses[0].total_seconds() < 6.1
    assert timedelta(days=2) < sum(pauses, timedelta()) <= LONGEST
    assert 10 <= len(pauses) <= 16


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_what_counts_as_taken(status: int) -> None:
    assert Answer(status).is_success


@pytest.mark.parametrize("answer", [Answer(301), Answer(199), Answer(400), Answer(503), Answer(error="no")])
def test_what_does_not(answer: Answer) -> None:
    assert not answer.is_success


def test_a_burst_of_failures_disables_nothing() -> None:
    assert why_disabled(Answer(500), 10_000, NOW, NOW + timedelta(hours=23)) is None


def test_few_failures_disable_nothing() -> None:
    assert why_disabled(Answer(500), MAX_FAILURES - 1, NOW, NOW + timedelta(days=30)) is None


def test_many_failures_over_a_day_disable_and_say_why() -> None:
    reason = why_disabled(Answer(error="it did not answer in time"), MAX_FAILURES, NOW, NOW + timedelta(days=1))
    assert reason == "20 attempts in a row failed, since 2026-03-04 00:00 UTC; the last one: it did not answer in time"


def test_who_is_gone_is_disabled_at_once() -> None:
    assert why_disabled(Answer(410), 1, NOW, NOW) == "it answered 410 Gone"


def test_every_final_status_has_its_event() -> None:
    from sojourn.sdk.protocol import FINAL_STATUSES

    assert set(delivering.EVENTS) == {f"run.{status.lower()}" for status in FINAL_STATUSES}
