"""A run that was frozen by one executor and goes on below another, on one node: the end of the first is not its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.test_keep_alive import idling
from tests.support.criu import needs_criu
from tests.support.frozen_stack import FrozenStack
from tests.support.stack import until

PROJECT = Path(__file__).parent / "waiting"


@pytest.fixture
def stack() -> Iterator[FrozenStack]:
    made = FrozenStack(needs_criu(), SOJOURN_PLACES="2")
    try:
        made.up()
        made.deploy(PROJECT)
        yield made
        until(lambda: made.violations() == [], 20, "every invariant holds")
    finally:
        made.down()


def executor(stack: FrozenStack, run: str) -> str:
    """That of a run that works on."""
    until(lambda: "works on" in [line["message"] for line in stack.client().logs(run)["lines"]], 40, f"{run} works on")
    return str(stack.client().retrieve(run)["executor"]["id"])


def test_a_data_directory_that_was_moved_says_what_that_spoils(stack: FrozenStack) -> None:
    run, _ = stack.frozen("works-on")
    stack.cli("down")
    old = stack.data_dir
    new = old.rename(old.with_name(f"{old.name}-moved"))
    stack.data_dir, stack.environment["SOJOURN_DATA_DIR"] = new, str(new)
    assert stack.up()["moved"] == {"from": str(old), "frozen_runs": 1}
    stack.client().cancel(run)
    stack.cli("down")
    assert "moved" not in stack.up()


def test_a_run_outlives_the_executor_that_froze_it(stack: FrozenStack) -> None:
    """What that has left is looked for by its mark, which the thawed process bears."""
    run, token = stack.frozen("works-on")
    (first,) = until(lambda: idling(stack), 20, "the executor that froze it waits for a run")
    other = stack.start("works-on", [])
    assert executor(stack, other) == first
    stack.complete(token, "yes")
    assert executor(stack, run) != first
    stack.kill_shim(other)
    assert stack.result(other)["error"]["code"] == "TASK_RUN_CRASHED"
    stack.client().add_tags(run, ["enough"])
    told = stack.output(run)
    assert (told["answers"], told["same"], told["attempt"]) == (["yes"], True, 1)
    assert stack.events(run)[-2:] == ["CONTINUE", "SUCCEED"]
