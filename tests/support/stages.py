"""Stages on which placements are tried: each opens one implementation, with a control plane for its executors."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.executors import Executors
from sojourn.nomad_jobs.client import Client
from sojourn.nomad_jobs.sites import Site
from sojourn.nomad_jobs.spec import Terms
from sojourn.scheduler.placement.base import Ended, ExecutorSpec, Placement
from sojourn.scheduler.placement.limits import Limits
from sojourn.scheduler.placement.local import LocalPlacement
from sojourn.scheduler.placement.nomad import NomadPlacement
from sojourn.scheduler.placement.process import is_alive, marked
from tests.integration.shim.worker_server import WorkerServer

PATIENCE = 90.0
Implementation = LocalPlacement | NomadPlacement


class Stage:
    """One implementation, and what it told."""

    #: What an executor's exit code may be that left when it was stopped.
    left_when_stopped: tuple[int | None, ...] = (0,)

    def __init__(self, server: WorkerServer, directory: Path, content_hash: str):
        self.server = server
        self.directory = directory
        self.content_hash = content_hash
        self.rang = threading.Event()
        self._told: dict[str, Ended] = {}
        self._opened: list[Implementation] = []

    def settings(self) -> dict[str, Any]:
        return {
            "api_url": self.server.url, "versions_dir": str(self.directory / "versions"), "idle_timeout": 30,
            "poll": 5, "drain_grace": 0.5, "term_grace": 0.5, "heartbeat": 0.5, "lease": 6, "sandbox": "off",
        }  # fmt: skip

    def open(self, places: int = 2) -> Implementation:
        placement = self.make(places)
        self._opened.append(placement)
        return placement

    def make(self, places: int) -> Implementation:
        raise NotImplementedError

    def pid(self, placement: Placement, executor: str) -> int:
        """The pid of a living executor's shim."""
        raise NotImplementedError

    def told(self) -> dict[str, Any]:
        """What a scheduler of another process needs, to make the same placement by `make_again`."""
        raise NotImplementedError

    def spec(self, **more: Any) -> ExecutorSpec:
        given = {
            "executor": f"executor_{secrets.token_hex(4)}", "organization": "org_1", "environment": "env_1",
            "version": "version_1", "version_hash": self.content_hash, "machine": "small-1x", "lane": "lane",
            "run": None, "credential": "credential",
        }  # fmt: skip
        return ExecutorSpec(**(given | more))

    def end_of(self, placement: Placement, executor: str) -> Ended:
        """Until it was told that the executor ended, which is settled then."""
        while executor not in self._told:
            self._told |= {ended.executor: ended for ended in placement.ended()}
            if executor not in self._told:
                assert self.rang.wait(PATIENCE), "no end was told"
                self.rang.clear()
        placement.settled([executor])
        return self._told[executor]

    def scheduler_that_dies(self, specs: list[ExecutorSpec], before: Callable[[], Any]) -> None:
        """Another process places executors and is killed when `before` returns."""
        fields = ExecutorSpec.__slots__
        given = {**self.told(), "specs": [{name: getattr(spec, name) for name in fields} for spec in specs]}
        command = [sys.executable, "-m", "tests.support.stages"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "placed\n"
            before()
            process.kill()

    def close(self) -> None:
        self.server.leave = "the test is over"
        for placement in self._opened:
            placement.close(0)


class LocalStage(Stage):
    """Executors are processes of this machine."""

    def make(self, places: int) -> LocalPlacement:
        return _local(self.directory, places, self.settings(), self.rang.set)

    def pid(self, placement: Placement, executor: str) -> int:
        return int(next(each.handle for each in placement.living() if each.executor == executor))

    def told(self) -> dict[str, Any]:
        return {"kind": "local", "directory": str(self.directory), "settings": self.settings()}


class NomadStage(Stage):
    """Executors are allocations of a real agent."""

    #: While it stops a task, Nomad now and then loses sight of how that ended, and says -1: nobody knows then.
    left_when_stopped = (0, None)

    def __init__(self, server: WorkerServer, directory: Path, content_hash: str, agent: NomadAgent, database_url: str):
        super().__init__(server, directory, content_hash)
        self.agent = agent
        self.database_url = database_url
        self.name = f"t{secrets.token_hex(3)}"
        server.shim_settings = {**self.settings(), "version_hash": content_hash}

    @property
    def client(self) -> Client:
        return Client(self.agent.access)

    def make(self, places: int) -> NomadPlacement:
        return _nomad(self.told(), places, self.rang.set)

    def pid(self, placement: Placement, executor: str) -> int:
        return self.pid_of(executor)

    def pid_of(self, executor: str) -> int:
        """The pid of an executor's shim, by the environment that Nomad gave it."""
        (found,) = [pid for pid in marked(f"NOMAD_META_executor={executor}") if is_alive(pid, None) and _is_shim(pid)]
        return found

    def told(self) -> dict[str, Any]:
        return {
            "kind": "nomad",
            "access": asdict(self.agent.access),
            "database_url": self.database_url,
            "name": self.name,
            "api_url": self.server.url,
            "versions_dir": str(self.directory / "versions"),
        }


def _local(directory: Path, places: int, settings: dict[str, Any], ring: Callable[[], None]) -> LocalPlacement:
    return LocalPlacement(directory / "registry", places, settings, ring)


def _nomad(told: dict[str, Any], places: int, ring: Callable[[], None]) -> NomadPlacement:
    access = NomadAccess(**told["access"])
    return NomadPlacement(
        Client(access),
        Executors(Database(told["database_url"], connections=5)),
        cluster=told["name"],
        namespace=access.namespace,
        site_of=lambda *_: Site(python=sys.executable, versions_dir=told["versions_dir"]),
        terms=Terms(told["api_url"], kill_timeout=3, lease=6, prefix=told["name"]),
        limits=Limits(places, submissions=16, listing=2, unheard=1, undispatched=2, kill=3),
        clock=lambda: datetime.now(UTC),
        on_change=ring,
    )


def _is_shim(pid: int) -> bool:
    return b"sojourn.executor_shim\0--nomad" in Path(f"/proc/{pid}/cmdline").read_bytes()


def main() -> None:
    """A scheduler that places what it is told to, and waits to be killed."""
    given = json.loads(sys.stdin.readline())
    if given["kind"] == "local":
        placement: Placement = _local(Path(given["directory"]), 5, given["settings"], lambda: None)
    else:
        placement = _nomad(given, 5, lambda: None)
    for spec in given["specs"]:
        placement.place(ExecutorSpec(**spec))
    print("placed", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
