"""Retry or fail: the decision for each kind of end, and the delays between attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.domain import failure
from sojourn.control_plane.domain.failure import (
    Fail,
    Failure,
    RetryLater,
    RetryNow,
    RetryOptions,
    decide,
    final_status,
    internal_error,
    truncated,
)
from sojourn.sdk.protocol import ErrorCode, RunStatus

NOW = datetime(2026, 3, 4, tzinfo=UTC)
USER_ERROR = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": ""}


def decided(error, *, attempt=1, max_attempts=3, machine="small-1x", options=None, **wish):
    return decide(
        Failure(error, **wish),
        attempt=attempt,
        max_attempts=max_attempts,
        machine=machine,
        options=options or RetryOptions(),
        now=NOW,
        immediate_below=timedelta(seconds=5),
        unit_random=0.0,
    )


def test_a_short_wait_is_spent_in_the_executor():
    assert decided(USER_ERROR, retry_at=NOW + timedelta(seconds=1)) == RetryNow(NOW + timedelta(seconds=1))


def test_a_long_wait_goes_through_the_queue():
    at = NOW + timedelta(seconds=5)
    assert decided(USER_ERROR, retry_at=at) == RetryLater(at)


def test_a_wish_for_the_past_is_a_retry_at_once():
    assert decided(USER_ERROR, retry_at=NOW - timedelta(seconds=9)) == RetryNow(NOW)


def test_the_last_attempt_fails():
    assert decided(USER_ERROR, attempt=3, retry_at=NOW) == Fail(RunStatus.FAILED, USER_ERROR)


def test_an_aborted_run_is_not_retried():
    assert decided(USER_ERROR, retry_at=NOW, skipped_retrying=True) == Fail(RunStatus.FAILED, USER_ERROR)


def test_a_user_error_without_a_wish_fails():
    assert isinstance(decided(USER_ERROR), Fail)


@pytest.mark.parametrize("code", sorted(failure.LOOKED_UP))
def test_a_crash_waits_as_the_runs_own_options_say(code):
    options = RetryOptions(min_timeout_ms=700, randomize=False)
    decision = decided(internal_error(code, ""), options=options, executor_lost=True)
    assert decision == RetryLater(NOW + timedelta(milliseconds=700))


@pytest.mark.parametrize("code", sorted(failure.LOST))
def test_a_lost_executor_is_replaced_at_once(code):
    decision = decided(internal_error(code, ""), executor_lost=True)
    assert decision == RetryLater(NOW + timedelta(milliseconds=250))


@pytest.mark.parametrize("code", sorted(failure.NOT_RETRYABLE))
def test_what_is_not_retryable_fails_whatever_the_executor_wishes(code):
    assert isinstance(decided(internal_error(code, ""), retry_at=NOW), Fail)


def test_out_of_memory_moves_to_the_larger_machine_once():
    options = RetryOptions(out_of_memory_machine="medium-1x", randomize=False)
    error = internal_error(ErrorCode.TASK_PROCESS_OOM_KILLED, "")
    decision = decided(error, options=options)
    assert decision == RetryLater(NOW + timedelta(seconds=1), "medium-1x")
    assert decided(error, options=options, machine="medium-1x") == Fail(RunStatus.CRASHED, error)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_ends_in_a_final_status(code):
    assert final_status(internal_error(code, "")) in {
        RunStatus.FAILED,
        RunStatus.CANCELED,
        RunStatus.CRASHED,
        RunStatus.TIMED_OUT,
        RunStatus.SYSTEM_FAILURE,
    }


def test_an_unknown_code_is_the_platforms_failure():
    assert final_status({"type": "INTERNAL_ERROR", "code": "FORGED"}) is RunStatus.SYSTEM_FAILURE
    assert isinstance(decided({"type": "INTERNAL_ERROR", "code": "FORGED"}, retry_at=NOW), Fail)


@given(
    attempt=st.integers(1, 250),
    minimum=st.integers(0, 10**7),
    maximum=st.integers(0, 10**7),
    factor=st.floats(0.001, 1000),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_never_negative_nor_above_its_maximum(attempt, minimum, maximum, factor, draw):
    options = RetryOptions(factor=factor, min_timeout_ms=minimum, max_timeout_ms=maximum)
    delay = options.delay(attempt, draw)
    assert timedelta(0) <= delay <= timedelta(milliseconds=maximum)


def test_delays_double_and_are_stretched_by_the_draw():
    options = RetryOptions()
    assert [options.delay(n, 0.0) for n in (1, 2, 3)] == [timedelta(seconds=n) for n in (1, 2, 4)]
    assert options.delay(1, 0.5) == timedelta(seconds=1.5)
    assert options.delay(30, 0.0) == timedelta(seconds=60)


def test_texts_are_cut_and_made_storable():
    kept = truncated({"type": "BUILT_IN_ERROR", "name": "n" * 5000, "message": "a\x00b\ud800" + "m" * 20_000})
    assert len(kept["name"]) <= 1025
    assert kept["message"].startswith("a\u2400b?")
    assert len(kept["message"].encode()) <= 16 * 1024 + 3
