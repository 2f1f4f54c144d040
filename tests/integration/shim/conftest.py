"""A project of tasks, a server that gives them, and real shims as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.worker_server import WorkerServer
from tests.support.sandboxes import needs_sandboxes

from sojourn.executor_shim.process_tree import descendants
from sojourn.sdk import archive

PROJECT = Path(__file__).parent / "project"


class ShimProcess:
    """One executor. `wait` gives its exit code."""

    def __init__(self, server: WorkerServer, directory: Path, content_hash: str, prefix: tuple[str, ...] = (), **more: Any):
        settings = {
            "api_url": server.url, "credential": "credential", "executor": f"executor_{os.urandom(4).hex()}",
            "version_hash": content_hash, "versions_dir": str(directory / "versions"), "poll": 5, "idle_timeout": 30,
            "heartbeat": 0.5, "lease": 20, "term_grace": 0.5, "drain_grace": 1, "cancel_grace": 20,
        } | more  # fmt: skip
        self.executor = str(settings["executor"])
        self.log = directory / f"{self.executor}.log"
        read, write = os.pipe()
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "sojourn.executor_shim", "--config-fd", str(read)],
                pass_fds=(read,),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        os.close(read)
        os.write(write, json.dumps(settings).encode())
        os.close(write)

    @property
    def pid(self) -> int:
        return self.process.pid

    def outside(self, pid: int) -> int | None:
        """A process below this executor by its number on the node; `pid` is what it has inside. None: there is none."""
        for each in descendants(self.pid):
            try:
                status = Path(f"/proc/{each}/status").read_text()
            except OSError:
                continue
            if int(status.split("NSpid:")[1].split("\n")[0].split()[-1]) == pid:
                return each
        return None

    def running(self, word: bytes) -> list[int]:
        """Processes below this executor with that word in their command; one that was only just forked has its parent's."""
        found = []
        for pid in descendants(self.pid):
            with suppress(OSError):  # it has ended meanwhile
                found += [pid] * (word in Path(f"/proc/{pid}/cmdline").read_bytes())
        return found

    def wait(self, seconds: float = 90) -> int:
        return self.process.wait(seconds)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server() -> Iterator[WorkerServer]:
    made = WorkerServer()
    yield made
    made.close()


def offered(server: WorkerServer, project: Path) -> str:
    """A project as a version that executors can fetch: its content hash."""
    packed, content_hash = archive.pack(project)
    server.archives[content_hash] = packed
    return content_hash


@pytest.fixture
def content_hash(server: WorkerServer) -> str:
    return offered(server, PROJECT)


@pytest.fixture(params=["plain", "sandboxed"])
def sandbox(request: pytest.FixtureRequest) -> str | dict[str, Any]:
    """Every test of a shim is one with and one without a sandbox; this machine's network stays as it is."""
    if request.param == "plain":
        return "off"
    needs_sandboxes()
    return {"mode": "required", "network": "none"}


@pytest.fixture
def start(
    server: WorkerServer, content_hash: str, tmp_path: Path, sandbox: str | dict[str, Any]
) -> Iterator[Callable[..., ShimProcess]]:
    """Starts an executor; settings as keywords."""
    started: list[ShimProcess] = []

    def start_one(**more: Any) -> ShimProcess:
        shim = ShimProcess(server, tmp_path, more.pop("version_hash", content_hash), **{"sandbox": sandbox, **more})
        started.append(shim)
        return shim

    yield start_one
    for shim in started:
        shim.end()


def told(server: WorkerServer, task: str, payload: Any = None, **more: Any) -> Any:
    """What a task returns."""
    outcome = server.result(server.give(task, payload, **more))["outcome"]
    assert outcome["ok"], outcome
    return json.loads(outcome["output"])


def lives(pid: int | None) -> bool:
    """Whether a process exists and has not ended."""
    if pid is None:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_gone(pid: int | None, seconds: float = 60) -> None:
    """Until the process has ended. It may be nobody's child of ours, so that only a pidfd tells."""
    import select

    assert pid is not None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(seconds * 1000), f"process {pid} still lives"
    finally:
        os.close(fd)
