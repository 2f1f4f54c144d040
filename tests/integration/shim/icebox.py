"""A shim's hold on real sandboxed processes, without a shim: children that are frozen and thawed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sojourn.executor_shim import freezing
from sojourn.executor_shim.child import Child
from sojourn.executor_shim.events import Events
from sojourn.executor_shim.freezing import images, places
from sojourn.executor_shim.sandbox import errands
from sojourn.executor_shim.sandbox.keeper import Keeper
from sojourn.executor_shim.sandbox.options import Options, Plan, Target
from sojourn.executor_shim.sandbox.paths import needed_paths
from sojourn.executor_shim.sandbox.process import SandboxedProcess

ZOO = Path(__file__).parent / "zoo"
KEY, CONTEXT = b"k" * 32, "run_1 snapshot 7"
PATIENCE = 90.0


class Resident:
    """A child, and what it has said so far."""

    def __init__(self, events: Events, child: Child):
        self.events = events
        self.child = child
        self.messages: list[dict[str, Any]] = []
        self.output = {"stdout": b"", "stderr": b""}
        self.is_over = False

    @property
    def process(self) -> SandboxedProcess:
        assert isinstance(self.child.process, SandboxedProcess)
        return self.child.process

    def run(self, task: str, payload: Any = None) -> None:
        """Sends it a run of the zoo."""
        assignment = {
            "run": {"id": "run_1", "payload": json.dumps(payload or {}), "payloadType": "application/json", "tags": [],
                    "isTest": False, "isReplay": False, "createdAt": "2026-01-01T00:00:00+00:00",
                    "startedAt": "2026-01-01T00:00:00+00:00", "maxAttempts": 3, "version": "20260101.1"},
            "attempt": {"number": 1, "startedAt": "2026-01-01T00:00:00+00:00"},
            "task": {"id": task, "filePath": "tasks.py", "exportName": task},
            "queue": {"id": f"task/{task}", "name": task}, "snapshot": 3, "token": "token",
            "retry": {"maxAttempts": 3, "minTimeoutInMs": 50, "maxTimeoutInMs": 50, "factor": 1, "randomize": False},
            "variables": {}, "apiUrl": "http://127.0.0.1:3030", "secretKey": "tr_dev_test", "maxDuration": None,
        }  # fmt: skip
        self.child.send({"type": "run", "directory": str(ZOO), "cancelGrace": 5, "assignment": assignment})

    def until(self, told: Callable[..., Any], what: str) -> Any:
        """Listens until `told` of it is true; that."""
        deadline = time.monotonic() + PATIENCE
        while not (found := told(self)):
            assert time.monotonic() < deadline, f"{what}: {self.messages} {self.output}"
            for name in self.events.wait(deadline - time.monotonic()):
                self.take(name)
        return found

    def take(self, name: str) -> None:
        """One event."""
        if name == "result":
            self.messages += self.child.messages(self.child.read(name) or b"")
        elif name in self.output:
            self.output[name] += self.child.read(name) or b""
        else:
            self.child.ignore(name)

    def until_standing(self, name: str = "go") -> None:
        """Until the task has come to that stand."""
        self.until(lambda each: any(m.get("message") == f"stands {name}" for m in each.messages), f"stands {name}")

    def let_go(self, name: str = "go") -> None:
        """Lets the task go on from a stand, once its process may."""
        trees = errands.look(self.process).trees
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=trees["tmp"]))
        os.chown(name, self.process.uid, self.process.uid, dir_fd=trees["tmp"])
        for fd in trees.values():
            os.close(fd)

    def end(self) -> None:
        """Kills what is left of it."""
        if not self.is_over:
            self.is_over = True
            self.child.end()

    def outcome(self) -> dict[str, Any]:
        """The attempt's."""
        is_outcome = lambda each: [m for m in each.messages if m["type"] == "outcome"]  # noqa: E731
        found: dict[str, Any] = self.until(is_outcome, "an outcome")[0]["outcome"]
        return found

    def output_of_run(self) -> Any:
        """What the task returned."""
        outcome = self.outcome()
        assert outcome["ok"], outcome
        return json.loads(outcome["output"])

    def freeze(self, image: Path, **more: Any) -> None:
        """Packs the stopped process into a sealed file beside `image`; it is stopped still."""
        criu = freezing.find_criu()
        assert criu
        with places.workplace() as place:
            directory = os.open(place, os.O_RDONLY)
            try:
                frozen = self.child.freeze(directory, criu, **more)
                self.messages += frozen.messages
                self.output["stdout"] += frozen.stdout
                self.output["stderr"] += frozen.stderr
                with image.open("wb") as out:
                    frozen.pack(out, KEY, CONTEXT)
                frozen.close()
            finally:
                os.close(directory)


class Icebox:
    """Makes residents, in sandboxes of one keeper."""

    def __init__(self, options: dict[str, Any] | None = None):
        self.options = Options(**({"mode": "required", "network": "none"} | (options or {})))
        self.keeper = Keeper.start()
        self.residents: list[Resident] = []

    def plan(self, environment: dict[str, str]) -> Plan:
        code = (str(ZOO), *needed_paths(environment))
        return Plan(self.options, "test", code, Target("127.0.0.1", 3030), environment)

    def start(self) -> Resident:
        """A fresh one."""
        events = Events()

        def start(program: list[str], environment: dict[str, str], pipes: dict[int, int]) -> SandboxedProcess:
            return SandboxedProcess(self.keeper, self.plan(environment), [*program, "1"], pipes)

        return self._known(Resident(events, Child(events, "test", start)))

    def thaw(self, image: Path, key: bytes = KEY, context: str = CONTEXT) -> Resident:
        """One out of a sealed image, stopped."""
        events = Events()
        with places.workplace() as place, image.open("rb") as source:
            directory = f"{place}/image"
            images.unpack(source, directory, key, context)
            return self._known(Resident(events, Child.thawed(events, "test", self.thaw_process, directory)))

    def thaw_process(self, environment: dict[str, str], pipes: dict[int, int], image: str) -> SandboxedProcess:
        """What a child asks for."""
        criu = freezing.find_criu()
        assert criu
        return SandboxedProcess.thawed(self.keeper, self.plan(environment), pipes, image, criu)

    def close(self) -> None:
        """Ends all of it."""
        for each in self.residents:
            each.end()
        self.keeper.close()

    def _known(self, resident: Resident) -> Resident:
        self.residents.append(resident)
        return resident
