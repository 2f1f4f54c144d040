"""What a user's process does with a result that it is given after it was frozen."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sojourn.executor_shim.child import Child
from sojourn.executor_shim.events import Events
from sojourn.executor_shim.plain import PlainProcess

PROJECT = Path(__file__).parent / "waiting_project"
ASSIGNMENT = {
    "run": {"id": "run_1", "payload": "null", "payloadType": "application/json", "maxAttempts": 1},
    "attempt": {"number": 1},
    "task": {"id": "dice", "filePath": "waits.py", "exportName": "dice"},
    "variables": {"COLOUR": "blue"},
    "apiUrl": "http://127.0.0.1:1",
    "secretKey": "tr_dev_old",
    "waiting": {"short": 0},
}


class Alone(PlainProcess):
    """The run of the tests has other children, servers among them, which are not this one's to end."""

    def kill(self) -> bool:
        self.signal(signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED)
        return True


class UserProcess:
    """A user's process without a shim: frames to it and from it."""

    def __init__(self) -> None:
        self.events = Events()
        self.child = Child(self.events, "executor_1", Alone)

    def frame(self, kind: str) -> dict[str, Any]:
        """The next frame of a kind."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for name in self.events.wait(1):
                if name in ("control", "cancel"):
                    self.child.flush(name)
                elif name == "result":
                    for message in self.child.messages(self.child.read("result") or b""):
                        if message["type"] == kind:
                            return message
                elif name == "stderr":
                    print((self.child.read("stderr") or b"").decode(), file=sys.stderr)
        raise AssertionError(f"no frame {kind}")


@pytest.fixture
def process() -> Iterator[UserProcess]:
    made = UserProcess()
    yield made
    made.child.end()


def dice(process: UserProcess, **more: Any) -> dict[str, Any]:
    process.child.send({"type": "run", "directory": str(PROJECT), "cancelGrace": 5, "assignment": ASSIGNMENT})
    (key,) = process.frame("wait")["pending"]
    process.child.tell({"type": "done", "run": "run_0", "done": {key: {"ok": False}}})
    process.child.tell({"type": "done", "run": "run_1", "done": {key: {"ok": True, "kind": "date"}}, **more})
    outcome = process.frame("outcome")["outcome"]
    assert outcome["ok"], outcome
    told: dict[str, Any] = json.loads(outcome["output"])
    return told


def test_a_process_that_was_frozen_is_not_its_twin(process: UserProcess) -> None:
    variables = {"COLOUR": "green", "SOJOURN_SECRET_KEY": "tr_dev_new"}
    told = dice(process, thawed=True, variables=variables)
    assert told["thrown"] != told["expected"]
    assert (told["colour"], told["key"]) == ("green", "tr_dev_new")


def test_one_that_was_not_is_left_as_it_is(process: UserProcess) -> None:
    told = dice(process)
    assert told["thrown"] == told["expected"]
    assert (told["colour"], told["key"]) == ("blue", "tr_dev_old")


def test_a_variable_that_was_deleted_meanwhile_is_gone(process: UserProcess) -> None:
    told = dice(process, thawed=True, variables={"SOJOURN_SECRET_KEY": "tr_dev_new"}, gone=["COLOUR", "NEVER_THERE"])
    assert (told["colour"], told["key"]) == (None, "tr_dev_new")
