"""`sojourn.testing` refuses what the API refuses, with its status, its code and the field at fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sojourn import queues, schedules, task, testing
from tests.support import refused_calls


@pytest.fixture(autouse=True)
def platform() -> Iterator[testing.Platform]:
    @task(id="hello")
    def hello(payload: Any) -> Any:
        return payload

    with testing.Platform() as entered:
        yield entered


@pytest.mark.parametrize("case", refused_calls.CASES)
def test_what_the_api_refuses_is_refused_and_changes_nothing(case: Any, platform: testing.Platform) -> None:
    refused_calls.check(platform.client(), case)
    state = queues.retrieve("task/hello")
    assert (state.concurrency_limit, state.keys, "rate" in state.raw) == (None, (), False)
    assert not platform.runs and not platform.held and list(schedules.list()) == []


def test_the_bounds_themselves_are_taken() -> None:
    assert queues.override_limit("task/hello", 100_000).concurrency_limit == 100_000
    assert queues.set_rate("task/hello", 5, "400d", burst=5).raw["rate"]["burst"] == 5
    assert queues.override_limit("task/hello", 0, concurrency_key="k").keys[0].concurrency_limit == 0
    assert schedules.create("hello", "0 0 * * *", deduplication_key="a", window="24h").window == "24h"
