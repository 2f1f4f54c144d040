"""Options of tasks and triggers: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.sdk.durations import duration
from sojourn.sdk.errors import ConfigurationError, TaskDefinitionError
from sojourn.sdk.options import Debounce, Queue, Rate, Retry, machine, max_duration, task_id
from sojourn.sdk.trigger_options import trigger_options


def test_retry_defaults_are_three_attempts_from_one_to_sixty_seconds() -> None:
    assert Retry().to_wire() == {
        "maxAttempts": 3,
        "factor": 2.0,
        "minTimeoutInMs": 1000,
        "maxTimeoutInMs": 60000,
        "randomize": True,
    }


def test_retry_survives_the_wire() -> None:
    retry = Retry(5, 1.5, 0.2, 10, False, "large-1x")
    assert Retry.from_wire(retry.to_wire()) == retry


def test_retry_is_a_value() -> None:
    retry = Retry(max_attempts=5)
    assert copy.copy(retry) == pickle.loads(pickle.dumps(retry)) == Retry(max_attempts=5) != Retry()
    assert len({retry, Retry(max_attempts=5)}) == 1
    assert "max_attempts=5" in repr(retry)
    with pytest.raises(AttributeError, match="make a new one"):
        retry.max_attempts = 6


@pytest.mark.parametrize(
    ("attempt", "unit_random", "seconds"),
    [(1, 0.0, 1.0), (2, 0.0, 2.0), (3, 0.5, 6.0), (9, 0.0, 60.0), (5000, 0.9, 60.0)],
)
def test_delay_grows_by_the_factor_up_to_the_most(attempt: int, unit_random: float, seconds: float) -> None:
    assert Retry().delay(attempt, unit_random) == seconds


@given(st.integers(1, 250), st.floats(0, 1, exclude_max=True), st.floats(0.001, 1000), st.floats(0, 100), st.floats(0, 100))
def test_delay_is_never_above_the_most_nor_below_zero(
    attempt: int, unit_random: float, factor: float, least: float, most: float
) -> None:
    assert 0 <= Retry(250, factor, least, most).delay(attempt, unit_random) <= most


@pytest.mark.parametrize(
    "given_options",
    [
        {"max_attempts": 0},
        {"max_attempts": 251},
        {"max_attempts": 1.5},
        {"factor": 0},
        {"min_timeout": -1},
        {"max_timeout": float("nan")},
        {"max_timeout": 86_401},
        {"out_of_memory_machine": "huge"},
    ],
)
def test_retry_refuses_what_makes_no_sense(given_options: dict[str, Any]) -> None:
    with pytest.raises(TaskDefinitionError):
        Retry(**given_options)


def test_a_misspelt_retry_option_names_the_nearest() -> None:
    with pytest.raises(TaskDefinitionError, match="did you mean 'max_attempts'"):
        Retry.of({"max_attempt": 3})


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 129, "a.b", "a\n"])
def test_queue_names_are_checked(name: str) -> None:
    with pytest.raises(TaskDefinitionError):
        Queue(name)


@pytest.mark.parametrize("limit", [-1, 1.5, "3"])
def test_queue_limits_are_whole_numbers(limit: Any) -> None:
    with pytest.raises(TaskDefinitionError):
        Queue("emails", limit)


@pytest.mark.parametrize("text", ["a", "send-email", "v1.send_email", "mail/send", "9", "x" * 128])
def test_task_ids_that_are_fine(text: str) -> None:
    assert task_id(text) == text


@pytest.mark.parametrize("text", ["", "-a", "a b", "a\x00", "é", "x" * 129, ".a", "a\n"])
def test_task_ids_that_are_not(text: str) -> None:
    with pytest.raises(TaskDefinitionError, match="no task id"):
        task_id(text)


def test_an_unknown_machine_names_the_nearest() -> None:
    with pytest.raises(TaskDefinitionError, match="did you mean 'small-1x'"):
        machine("smal-1x")


def test_max_duration_has_a_least() -> None:
    assert max_duration(5) == 5
    with pytest.raises(TaskDefinitionError, match="5 seconds or more"):
        max_duration(4)


@pytest.mark.parametrize(
    ("given_value", "seconds"),
    [("30s", 30), ("1h30m", 5400), ("2w", 1_209_600), ("1hr", 3600), (90, 90), (timedelta(minutes=2), 120)],
)
def test_durations(given_value: str | float | timedelta, seconds: float) -> None:
    assert duration(given_value) == seconds


@pytest.mark.parametrize("bad", ["", "10", "1.5h", "-3s", "h", "１s", True, float("inf"), None])
def test_what_is_no_duration(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="no duration"):
        duration(bad)


def test_trigger_options_are_brought_into_the_wires_words() -> None:
    assert trigger_options(
        {
            "queue": Queue("mail"),
            "concurrency_key": "user-1",
            "delay": timedelta(seconds=1.2),
            "ttl": timedelta(minutes=10),
            "idempotency_key": ["order", 7],
            "idempotency_key_ttl": "1h30m",
            "tags": ("a", "b"),
            "metadata": {"k": 1},
            "machine": "micro",
            "max_attempts": 2,
            "max_duration": 60,
            "priority": 10,
            "version": "20260101.1",
            "external_deployment_id": "abc123",
            "debounce": Debounce("k", timedelta(seconds=5), "trailing", "1h"),
            "test": True,
        }
    ) == {
        "queue": {"name": "mail"},
        "concurrencyKey": "user-1",
        "delay": "2s",
        "ttl": 600,
        "idempotencyKey": "order-7",
        "idempotencyKeyTTL": "5400s",
        "tags": ["a", "b"],
        "metadata": {"k": 1},
        "machine": "micro",
        "maxAttempts": 2,
        "maxDuration": 60,
        "priority": 10,
        "lockToVersion": "20260101.1",
        "externalDeploymentId": "abc123",
        "debounce": {"key": "k", "delay": "5s", "mode": "trailing", "maxDelay": "3600s"},
        "test": True,
    }


def test_debouncing_may_be_asked_for_by_a_dict() -> None:
    told = {"key": "k", "delay": "30s", "mode": "leading"}
    assert trigger_options({"debounce": {"key": "k", "delay": 30}}) == {"debounce": told}
    assert Debounce.of({"key": "k", "delay": 30}) == Debounce("k", 30)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"delay": 5}, "needs key"),
        ({"key": "k"}, "needs delay"),
        ({"key": "", "delay": 5}, "1 to 512"),
        ({"key": "k" * 513, "delay": 5}, "1 to 512"),
        ({"key": 7, "delay": 5}, "1 to 512"),
        ({"key": "k", "delay": "soon"}, "no duration"),
        ({"key": "k", "delay": 5, "mode": "trail"}, "did you mean 'trailing'"),
        ({"key": "k", "delay": 5, "maxDelay": 9}, "did you mean 'max_delay'"),
    ],
)
def test_debouncing_that_cannot_be_is_refused_where_it_is_written(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        trigger_options({"debounce": given})


def test_options_that_are_none_are_left_out() -> None:
    assert trigger_options({"delay": None, "tags": None}) == {}


def test_a_misspelt_trigger_option_is_a_type_error_that_names_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'idempotency_key'"):
        trigger_options({"idempotencyKey": "x"})


def test_a_delay_without_a_time_zone_is_refused() -> None:
    aware = datetime(2026, 1, 2, tzinfo=UTC)
    assert trigger_options({"delay": aware}) == {"delay": "2026-01-02T00:00:00+00:00"}
    with pytest.raises(ConfigurationError, match="time zone"):
        trigger_options({"delay": aware.replace(tzinfo=None)})


def test_an_idempotency_key_inside_a_run_holds_for_that_run() -> None:
    first, again = (trigger_options({"idempotency_key": "charge"}, "run_1") for _ in range(2))
    other = trigger_options({"idempotency_key": "charge"}, "run_2")
    assert first == again
    assert first["idempotencyKey"] != other["idempotencyKey"] != "charge"
    assert first["idempotencyKeyOptions"] == {"key": "charge", "scope": "run"}
    assert first["parentRunId"] == "run_1"


@pytest.mark.parametrize(
    ("rate", "wire"),
    [
        (Rate(100, per="1m"), {"limit": 100, "period": "60s"}),
        (Rate(5, per=timedelta(hours=1), burst=2), {"limit": 5, "period": "3600s", "burst": 2}),
        (Rate(1, 1.5), {"limit": 1, "period": "2s"}),
    ],
)
def test_a_rate_is_told_as_the_wire_has_it(rate: Rate, wire: dict[str, object]) -> None:
    assert rate.to_wire() == wire
    assert pickle.loads(pickle.dumps(Queue("q", rate=rate))) == Queue("q", rate=rate) != Queue("q", key_rate=rate)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rate(0, "1m"),
        lambda: Rate(1_000_001, "1m"),
        lambda: Rate(1, "soon"),
        lambda: Rate(1, 0),
        lambda: Rate(1, "401d"),
        lambda: Rate(5, "1m", burst=6),
        lambda: Queue("q", rate=100),  # type: ignore[arg-type]
    ],
)
def test_a_rate_that_cannot_be_used_is_refused_where_it_is_written(make: Callable[[], object]) -> None:
    with pytest.raises(TaskDefinitionError):
        make()
