"""What an environment may have of the places there are, on a real stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.stack import Stack, until

PROJECT = Path(__file__).parent / "project"


@pytest.fixture
def capped() -> Iterator[Stack]:
    stack = Stack(SOJOURN_EXECUTORS_PER_ENVIRONMENT="1", SOJOURN_IDLE_TIMEOUT_SECONDS="600")
    stack.up()
    for environment in ("dev", "prod"):
        stack.deploy(PROJECT, environment)
    yield stack
    stack.down()


def test_an_environment_shares_what_it_may_have_among_its_runs(capped: Stack) -> None:
    dev, prod = capped.client("dev"), capped.client("prod")
    small = [dev.trigger("sleeps", 0.2)["id"] for _ in range(4)]
    other = prod.trigger("echo", 1)["id"]
    assert until(lambda: prod.result(other, wait=20), 40, "it ends")["ok"]
    # Another machine is another executor: the one there is gives its place up once it idles.
    large = dev.trigger("echo", 2, {"machine": "medium-1x"})["id"]
    found = [until(lambda run=run: dev.result(run, wait=5), 40, "it ends") for run in (*small, large)]
    assert all(each["ok"] for each in found)
    used = {dev.timeline(run)["attempts"][0]["executor"] for run in small}
    assert len(used) == 1
    assert dev.timeline(large)["attempts"][0]["executor"] not in used
    assert len(capped.executors()) <= 2
