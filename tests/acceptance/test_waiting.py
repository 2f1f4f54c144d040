"""Runs that wait, in every shape: alive in memory, frozen at every wait, and all of them with one executor at a time."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.criu import needs_criu
from tests.support.frozen_stack import files_of
from tests.support.shapes import FROZEN, ONE_EXECUTOR
from tests.support.stack import Stack, until

PROJECT = Path(__file__).parent / "waiting"
SHAPES = {
    "alive": {"SOJOURN_FREEZE": "off", "SOJOURN_SHORT_WAIT": "0"},
    "frozen": FROZEN,
    "one-executor": ONE_EXECUTOR,
}


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    if request.param != "alive":
        needs_criu()
    return str(request.param)


@pytest.fixture(scope="module")
def stack(shape: str) -> Iterator[Stack]:
    made = Stack(**SHAPES[shape])
    made.up()
    made.deploy(PROJECT)
    yield made
    try:
        until(lambda: made.violations() == [], 20, "every invariant holds")
    finally:
        made.down()


@pytest.fixture(autouse=True)
def told(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    """A test that fails says what the stack's processes wrote."""
    yield
    if getattr(request.node, "failed", False):
        print(stack.logs())


def trigger(stack: Stack, task: str, payload: Any = None, **options: Any) -> str:
    return str(stack.client().trigger(task, payload, options or None)["id"])


def output(stack: Stack, run: str, seconds: float = 60) -> Any:
    client = stack.client()
    result = until(lambda: client.result(run, wait=20), seconds, f"{run} ends")
    assert result["ok"], (result, client.timeline(run))
    return json.loads(result["output"])


def events(stack: Stack, run: str) -> list[str]:
    return [row["event"] for row in stack.client().timeline(run)["snapshots"]]


def is_waiting(stack: Stack, run: str, shape: str) -> None:
    """Until it waits: with no process where it is frozen."""
    standing = "EXECUTING_WITH_WAITPOINTS" if shape == "alive" else "SUSPENDED"
    client = stack.client()
    until(lambda: client.timeline(run)["snapshots"][-1]["status"] == standing, 30, f"{run} is {standing}")


def token_of(stack: Stack, run: str) -> str:
    """The token that a run has told of in its log."""

    def told() -> str | None:
        for line in stack.client().logs(run)["lines"]:
            if "token" in (line.get("properties") or {}):
                return str(line["properties"]["token"])
        return None

    return str(until(told, 30, f"{run} tells its token"))


def complete(stack: Stack, token: str, data: Any) -> None:
    stack.client().request("POST", f"/api/v1/waitpoints/tokens/{token}/complete", {"data": data})


def test_a_date_passes_and_the_same_process_goes_on(stack: Stack, shape: str):
    run = trigger(stack, "sleeps", 4)
    assert output(stack, run) == {"same": True, "attempt": 1, "was": 1}
    seen = events(stack, run)
    assert seen[:4] == ["TRIGGER", "DEQUEUE", "START", "BLOCK"]
    assert seen[4:] == {
        "alive": ["UNBLOCK_QUEUED", "READMIT", "SUCCEED"],
    }.get(shape, ["SUSPEND", "RESUME", "DEQUEUE", "CONTINUE", "SUCCEED"]), seen


def test_a_token_is_completed_after_a_while(stack: Stack, shape: str):
    run = trigger(stack, "asks", {"seed": 3})
    is_waiting(stack, run, shape)
    complete(stack, token_of(stack, run), {"approved": True})
    told = output(stack, run)
    assert told["answer"] == {"approved": True} and told["written"] == "before after"
    assert told["secret"] == random.Random(3).random()


def test_a_token_is_completed_at_once(stack: Stack):
    """Before, while or after the process is frozen: whatever comes first."""
    run = trigger(stack, "asks", {})
    complete(stack, token_of(stack, run), "at once")
    assert output(stack, run)["answer"] == "at once"


def test_a_token_that_nobody_completes_times_out(stack: Stack):
    assert output(stack, trigger(stack, "asks", {"timeout": "2s"}))["answer"] == "WaitpointTimeoutError"


def test_a_time_out_of_an_event_loop_comes_in_time(stack: Stack, shape: str):
    run = trigger(stack, "gives-up", 3)
    is_waiting(stack, run, shape)
    assert output(stack, run) >= 3


def test_a_child(stack: Stack):
    assert output(stack, trigger(stack, "has-a-child", 20)) == 61


def test_a_child_that_fails(stack: Stack):
    assert output(stack, trigger(stack, "has-a-broken-child", 5)) == {"ok": False, "message": "broken 5"}


def test_a_batch_of_children(stack: Stack):
    assert output(stack, trigger(stack, "has-many", 12)) == [2 * n for n in range(12)]


def test_a_batch_of_children_that_all_fail(stack: Stack):
    assert output(stack, trigger(stack, "has-broken-ones", 5)) == [[False, f"broken {n}"] for n in range(5)]


def test_a_child_that_cannot_be_triggered_does_not_strand_the_rest(stack: Stack):
    told = output(stack, trigger(stack, "has-an-odd-one", 4))
    assert (told["odd"], told["plain"]) == (False, 8) and "mars" in told["why"]


def test_a_batch_of_which_nothing_can_be_triggered_does_not_strand_its_parent(stack: Stack):
    assert output(stack, trigger(stack, "has-odd-ones", 3)) == [[False, True]] * 3


def test_a_child_that_the_version_does_not_have_is_an_error_at_once(stack: Stack):
    assert "has no task no-such-task" in output(stack, trigger(stack, "has-no-such-child", 4))


def test_a_retried_parent_has_the_same_children(stack: Stack):
    run = trigger(stack, "fails-after-its-children", 3)
    assert output(stack, run) == {"attempt": 2, "outputs": [0, 2, 4, 6]}
    lines = until(lambda: told_children(stack, run), 20, "both attempts tell")
    first, again = (line["properties"]["ids"] for line in lines)
    assert first == again and len(set(first)) == 4


def told_children(stack: Stack, run: str) -> list[dict[str, Any]] | None:
    lines = [line for line in stack.client().logs(run)["lines"] if line["message"] == "children"]
    return lines if len(lines) == 2 else None


def test_children_run_on_the_version_of_their_parent(stack: Stack, shape: str, tmp_path: Path):
    run = trigger(stack, "has-a-child-of-its-version")
    is_waiting(stack, run, shape)
    later = shutil.copytree(PROJECT, tmp_path / "later")
    (later / "more.py").write_text("# another version\n")
    version = stack.deploy(later)["version"]
    complete(stack, token_of(stack, run), None)
    own, child = output(stack, run)
    assert own == child != version


def test_a_recursion_deeper_than_its_queue_is_wide(stack: Stack):
    assert output(stack, trigger(stack, "recurses", 6), 120) == 21


def test_waits_in_parallel(stack: Stack):
    assert output(stack, trigger(stack, "gathers", 4)) == [8, 10]


def test_the_first_of_two(stack: Stack):
    assert output(stack, trigger(stack, "races")) == {"quick": True, "slow": False}


def test_a_retry_skips_the_waits_that_are_done(stack: Stack):
    run = trigger(stack, "fails-after-a-wait")
    assert output(stack, run) == {"attempt": 2}
    assert events(stack, run).count("BLOCK") == 1


def test_many_waits_in_a_row(stack: Stack):
    assert output(stack, trigger(stack, "waits-often", 8), 120) == 1


def test_hooks_run_around_a_wait(stack: Stack):
    assert output(stack, trigger(stack, "hooked")) == "task waits resumes"


def test_a_waiting_run_is_cancelled(stack: Stack, shape: str):
    run = trigger(stack, "asks", {})
    is_waiting(stack, run, shape)
    stack.client().cancel(run)
    client = stack.client()
    until(lambda: client.timeline(run)["snapshots"][-1]["status"] == "FINISHED", 30, "it ends")
    assert client.retrieve(run)["status"] == "CANCELED"


def test_what_is_new_when_a_process_goes_on(stack: Stack, shape: str):
    """Frozen, it finds variables and key as they are now, and draws what nobody foretold; in memory all is as it was."""
    client = stack.client()
    client.import_variables({"variables": {"COLOUR": "blue", "LEAVES": "soon"}})
    is_frozen = shape != "alive"
    try:
        run = trigger(stack, "looks-around", {"calls": is_frozen})
        is_waiting(stack, run, shape)
        client.update_variable("COLOUR", "green")
        client.delete_variable("LEAVES")
        client.create_variable({"name": "COMES", "value": "late"})
        old, new = rotate(stack)
        complete(stack, token_of(stack, run), None)
        told = output(stack, run)
    finally:
        for each in stack.client().list_variables():
            stack.client().delete_variable(each["name"])
    before = {"COLOUR": "blue", "LEAVES": "soon", "COMES": None, "key": mark(old)}
    after = {"COLOUR": "green", "LEAVES": None, "COMES": "late", "key": mark(new)}
    assert (told["before"], told["after"]) == (before, after if is_frozen else before)
    assert (told["drawn"] != told["foretold"]) == is_frozen


def rotate(stack: Stack) -> tuple[str, str]:
    """The root key until now, which opens nothing any more, and the one in its place."""
    (root,) = [each for each in stack.client().list_keys()["data"] if each["isRoot"] and each["status"] == "ACTIVE"]
    old = stack.found["environments"]["dev"]["secret_key"]
    new = stack.client().rotate_key(root["id"], "0s")["key"]
    stack.found["environments"]["dev"]["secret_key"] = new
    return old, new


def mark(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_run_that_is_frozen_has_no_process(stack: Stack, shape: str):
    if shape == "alive":
        pytest.skip("it is in memory")
    mark = f"canary-{time.time_ns()}"
    run = trigger(stack, "asks", {"mark": mark})
    is_waiting(stack, run, shape)
    images = files_of(stack.data_dir, run)
    assert images and all(mark.encode() not in path.read_bytes() for path in images)
    assert all(os.stat(path).st_mode & 0o077 == 0 for path in images)
    complete(stack, token_of(stack, run), 1)
    assert output(stack, run)["answer"] == 1
    until(lambda: not any(path.exists() for path in images), 20, "its image is deleted")
