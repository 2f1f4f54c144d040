"""What the command line shows of a run: all that one asks for first, errors once and with their traceback, what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sojourn.cli import run_shown, runs
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.client import Client
from sojourn.sdk.errors import PermissionDeniedError
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_acting_sdk import Invoke, client, invoke, straight

__all__ = ["client", "invoke", "straight"]

TRACE = (
    'Traceback (most recent call last):\n  File "tasks.py", line 7, in bad\n    payload["amount"]\nKeyError: \'amount\'\n'
)
KEY_ERROR = {"type": "BUILT_IN_ERROR", "name": "KeyError", "message": "'amount'", "stackTrace": TRACE}
INPUT_ERROR = {"type": "INTERNAL_ERROR", "code": "TASK_INPUT_ERROR", "message": "payload.to: is missing"}


def fail(platform: Platform, run: str, error: dict[str, Any]) -> None:
    platform.database.rows(
        "UPDATE runs SET status = 'FAILED', snapshot_status = 'FINISHED', finished_at = now(), error = %s::jsonb"
        " WHERE id = %s",
        json.dumps(error),
        run,
    )


def test_a_run_is_shown_with_what_it_was_asked_for(invoke: Invoke, client: Client) -> None:
    options = {"tags": ["vip", "eu"], "metadata": {"step": 2}, "idempotencyKey": "order-17"}
    parent = client.trigger("hello", {"amount": "3 €"}, options)["id"]
    child = client.trigger("hello", options={"parentRunId": parent})["id"]
    shown = invoke("runs", "get", parent)
    for line in (
        "queue: task/hello, small-1x",
        "tags: eu, vip",
        'payload: {"amount": "3 €"}',
        'metadata: {"step": 2}',
        "key: order-17",
        f"child: {child} hello, QUEUED",
    ):
        assert line in shown.splitlines()
    assert "NO_CAPACITY: " in shown
    assert f"parent: {parent} hello, QUEUED" in invoke("runs", "get", child)
    created = client.retrieve(parent)["createdAt"]
    assert f"triggered: {created[:23].replace('T', ' ')}" in shown, "with its day"
    assert shown.count(created[:10]) > 1, "the timeline has days, too"


def test_a_delayed_run_says_when_it_starts(invoke: Invoke) -> None:
    run = invoke("trigger", "hello", "--delay", "2031-05-06T07:08:09Z").strip()
    shown = invoke("runs", "get", run)
    assert "starts: 2031-05-06 07:08:09" in shown and "DELAYED: its start lies ahead until 2031-05-06 07:08:09" in shown


def test_an_error_is_shown_once_and_with_its_traceback(invoke: Invoke, client: Client, platform: Platform) -> None:
    run, other = (client.trigger("hello")["id"] for _ in range(2))
    fail(platform, run, KEY_ERROR)
    fail(platform, other, INPUT_ERROR)
    for words in (("runs", "get", run),):
        shown = invoke(*words)
        assert "error: KeyError: 'amount'\n" in shown
        assert '  File "tasks.py", line 7, in bad\n' in shown
    shown = invoke("runs", "get", other)
    assert "error: TASK_INPUT_ERROR: payload.to: is missing\n" in shown and shown.count("TASK_INPUT_ERROR") == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"name": "KeyError", "message": "'a'"}, "KeyError: 'a'"),
        ({"name": "ValueError", "message": ""}, "ValueError"),
        ({"name": "X", "message": "X: why"}, "X: why"),
        ({"name": "X", "message": "X"}, "X"),
        ({"message": "the run expired"}, "the run expired"),
        ({}, ""),
    ],
)
def test_an_errors_line(error: dict[str, Any], told: str) -> None:
    assert run_shown.error_of(error) == told


def test_a_task_that_nobody_deployed_is_told_at_once(invoke: Invoke, client: Client) -> None:
    told = invoke("trigger", "helo")
    assert "the current version has no task helo: did you mean hello?" in told
    run = told.split()[0]
    why = invoke("runs", "why", run)
    assert "has its task helo" in why and "deploy a version that has it" in why and "did you mean hello?" in why
    assert "`sojourn tasks list`" in invoke("trigger", "something-else", "--delay", "1h")
    assert "no task" not in invoke("trigger", "hello")


def test_waiting_that_is_broken_off_names_the_run(
    invoke: Invoke, client: Client, monkeypatch: pytest.MonkeyPatch, tenant: Tenant
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "result", interrupted)
    told = invoke("trigger", "hello", "--wait", code=130)
    run = told.split()[1]
    assert told.startswith(f"triggered {run}\n") and f"interrupted; {run} goes on: `sojourn runs get {run}`" in told
    assert client.retrieve(run)["status"] == "QUEUED"
    monkeypatch.setattr(runs, "_follow", interrupted)
    assert " goes on: " in invoke("trigger", "hello", "--follow", code=130)

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionDeniedError("Unauthorized", status=403)

    monkeypatch.setattr(client, "result", refused)
    told = invoke("trigger", "hello", "--wait", code=3)
    assert f"{told.split()[1]} is triggered, and this key may not wait for it" in told


def test_runs_that_call_hooks_are_listed_by_themselves(invoke: Invoke, client: Client, platform: Platform) -> None:
    run, hook = (client.trigger("hello")["id"] for _ in range(2))
    platform.database.rows("UPDATE runs SET hook_of = %s, tags = '{told}' WHERE id = %s", run, hook)
    usual, hooks = invoke("runs", "list"), invoke("runs", "list", "--hooks")
    assert (run in usual, hook in usual, run in hooks, hook in hooks) == (True, False, False, True)
