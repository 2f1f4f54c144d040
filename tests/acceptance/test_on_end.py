"""On the real stack every end of a run calls its task's `on_end`, also where no process is left, and webhooks are told."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.test_ends import pid_of_executor
from tests.support.receiver import Receiver
from tests.support.shapes import SHAPES, needs, project_in
from tests.support.stack import Stack, until

from sojourn.sdk.client import Client

TASKS = """
import time

from sojourn import Retry, RunEnd, logger, task


def told(payload, end: RunEnd):
    code = (end.error or {}).get("code") or (end.error or {}).get("name")
    logger.info("told", run=end.id, status=end.status, attempts=end.attempts, payload=payload, code=code)


@task(retry=Retry(max_attempts=1), on_end=told)
def sleeps(payload):
    logger.info("sleeping")
    time.sleep(payload)
    return "slept"


@task(retry=Retry(max_attempts=1), max_duration=5, on_end=told)
def too_long(payload):
    time.sleep(60)


@task(retry=Retry(max_attempts=1), on_end=told)
def fails(payload):
    raise ValueError("no good")
"""


@pytest.fixture(scope="module", params=["plain", "frozen"])
def shape(request: pytest.FixtureRequest) -> str:
    """As it is, and with every attempt frozen once, by one executor for all."""
    needs(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def receiver(shape: str) -> Iterator[Receiver]:
    """Of one stack alone: what is told is counted."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("project")
    (made / "hooked.py").write_text(TASKS)
    return made


@pytest.fixture(scope="module")
def stack(shape: str, receiver: Receiver, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(**SHAPES[shape], SOJOURN_WEBHOOK_NETWORKS="loopback")
    made.up()
    made.deploy(project_in(shape, project, tmp_path_factory.mktemp("shape")))
    yield made
    made.down()


@pytest.fixture(scope="module")
def secret(stack: Stack, receiver: Receiver) -> str:
    return str(stack.client().create_webhook({"url": receiver.url})["secret"])


def told(stack: Stack, run: str) -> dict[str, Any]:
    """What the hook of a run wrote, once it was called."""
    client = stack.client()
    hook = until(lambda: client.timeline(run).get("hook"), 30, "the end has a run for its hooks")
    until(lambda: client.result(hook["id"], wait=20), 40, "the hooks were called")
    shown = client.retrieve(hook["id"])
    assert shown["status"] == "COMPLETED", shown
    [line] = [each for each in client.logs(hook["id"])["lines"] if each["message"] == "told"]
    properties = dict(line["properties"])
    assert properties.pop("run") == run
    return properties


def expired(stack: Stack) -> str:
    """Its queue is paused for longer than it would wait."""
    client = stack.client()
    client.pause_queue("sleeps", "task")
    run = str(client.trigger("sleeps", 0, {"ttl": 1})["id"])
    until(lambda: client.retrieve(run)["status"] == "EXPIRED", 30, "it expires")
    client.pause_queue("sleeps", "task", paused=False)
    return run


def test_a_run_that_crashed(stack: Stack, secret: str) -> None:
    run = stack.client().trigger("sleeps", 60)["id"]
    os.kill(pid_of_executor(stack, run), signal.SIGKILL)
    assert told(stack, run) == {"status": "CRASHED", "attempts": 1, "payload": 60, "code": "TASK_RUN_CRASHED"}


def test_a_run_that_expired(stack: Stack, secret: str) -> None:
    assert told(stack, expired(stack)) == {"status": "EXPIRED", "attempts": 0, "payload": 0, "code": None}


def test_a_run_that_was_cancelled(stack: Stack, secret: str) -> None:
    client = stack.client()
    run = client.trigger("sleeps", 60)["id"]
    until(lambda: client.retrieve(run)["status"] == "EXECUTING", 20, "it runs")
    client.cancel(run)
    assert told(stack, run) == {"status": "CANCELED", "attempts": 1, "payload": 60, "code": "TASK_RUN_CANCELLED"}


def test_a_run_that_took_too_long(stack: Stack, secret: str) -> None:
    run = stack.client().trigger("too-long", "x")["id"]
    assert told(stack, run) == {"status": "TIMED_OUT", "attempts": 1, "payload": "x", "code": "MAX_DURATION_EXCEEDED"}


def test_a_run_that_failed_and_one_that_did_not(stack: Stack, secret: str) -> None:
    client = stack.client()
    bad, good = client.trigger("fails", [1])["id"], client.trigger("sleeps", 0)["id"]
    assert told(stack, bad) == {"status": "FAILED", "attempts": 1, "payload": [1], "code": "ValueError"}
    assert told(stack, good) == {"status": "COMPLETED", "attempts": 1, "payload": 0, "code": None}


def test_webhooks_were_told_of_each_once(stack: Stack, receiver: Receiver, secret: str) -> None:
    messages = [json.loads(each.body) for each in receiver.wait_for(6)]
    assert sorted(each["type"] for each in messages) == [
        "run.canceled", "run.completed", "run.crashed", "run.expired", "run.failed", "run.timed_out",
    ]  # fmt: skip
    assert len({each["data"]["run"]["id"] for each in messages}) == 6
    assert receiver.received[-1].headers["webhook-signature"].startswith("v1,")


def test_every_invariant_holds_after_all_this(stack: Stack) -> None:
    until(lambda: stack.violations() == [], 15, "nothing is left to be mended")


def test_a_scheduler_is_killed_when_it_has_made_a_hooks_run(
    make: Callable[..., Stack], project: Path, tmp_path: Path
) -> None:
    """By kill -9, once: the hooks are called all the same, and by one run."""
    struck = tmp_path / "struck"
    stack = make(SOJOURN_FAULTS=f"endings.after_store=kill:1:once={struck}")
    stack.up()
    stack.deploy(project)
    client = stack.client()
    run = client.trigger("fails", [1])["id"]
    assert told(stack, run)["status"] == "FAILED"
    assert struck.exists(), "the fault never struck"
    assert [each["status"] for each in client.list_runs({"filter[hooks]": "true"})["data"]] == ["COMPLETED"]


def test_a_scheduler_is_killed_when_it_has_sent_a_message(
    make: Callable[..., Stack], project: Path, tmp_path: Path
) -> None:
    """The message comes again, as the same."""
    receiver, struck = Receiver(), tmp_path / "struck"
    stack = make(SOJOURN_WEBHOOK_NETWORKS="loopback", SOJOURN_FAULTS=f"courier.after_send=kill:1:once={struck}")
    stack.up()
    stack.deploy(project)
    client = stack.client()
    secret = client.create_webhook({"url": receiver.url})["secret"]
    run = client.trigger("fails", [1])["id"]
    until(lambda: _delivered(client) == ["DELIVERED"], 120, "the message is noted")
    assert struck.exists(), "the fault never struck"
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert second.message(secret)["data"]["run"]["id"] == run
    receiver.close()


def _delivered(client: Client) -> list[str]:
    [webhook] = client.list_webhooks()["data"]
    return [each["status"] for each in client.webhook_deliveries(webhook["id"])["data"]]
