"""Processes that cannot be frozen, or nodes that cannot freeze: a real shim says why, and the run waits in memory."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.freezing_server import FreezingServer
from tests.integration.shim.frozen_project import content_hash, sandbox, server

Start = Callable[..., ShimProcess]
WAITING = {"freeze": True, "after": 0, "threshold": 0, "short": 0}
__all__ = ["content_hash", "sandbox", "server"]

TASKS = """
import os, socket
from sojourn import task, wait


@task
def nothing(payload):
    return wait.for_token("waitpoint_1").unwrap()


@task
def connected(path):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        answer = wait.for_token("waitpoint_1").unwrap()
        line.sendall(b"still here")
        return [answer, line.recv(99).decode()]


@task
def with_a_device(path):
    device = os.open(path, os.O_RDWR)
    answer = wait.for_token("waitpoint_1").unwrap()
    return [answer, os.fstat(device).st_rdev == os.stat(path).st_rdev]
"""
#: A device that is nobody's memory, terminal or file: that of file systems of users.
_FUSE = os.makedev(10, 229)
#: Where the shim looks, a kernel that was built without: its other numbers are as they are.
_OLD_KERNEL = """
most=$(cat /proc/sys/kernel/pid_max) boot=$(cat /proc/sys/kernel/random/boot_id)
mount -t tmpfs old /proc/sys/kernel
mkdir /proc/sys/kernel/random
echo "$most" >/proc/sys/kernel/pid_max
echo "$boot" >/proc/sys/kernel/random/boot_id
exec "$@"
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Path]:
    """A service of the node, in a directory that may be shown: it says what it hears."""
    shown = tmp_path / "shown"
    shown.mkdir(mode=0o755)
    path = shown / "service"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                line.sendall(line.recv(99))

        threading.Thread(target=serve, daemon=True).start()
        yield path


@pytest.fixture
def device() -> Iterator[Path]:
    """A device of the node that anybody may open."""
    path = Path(f"/dev/sojourn-{os.getpid()}")
    os.mknod(path, 0o666 | stat.S_IFCHR, _FUSE)
    try:
        path.chmod(0o666)
        yield path
    finally:
        path.unlink()


def refusal(server: FreezingServer, run: str) -> str:
    """Why the run waits in memory, as it was told."""
    held = server.wait_for(lambda: [each["hold"] for each in server.told_waits if each["run"] == run and each.get("hold")])
    return str(held[-1])


def ends(server: FreezingServer, run: str) -> Any:
    """What it returns when its wait is over; its process was never given up."""
    server.finish("waitpoint_1", "yes")
    outcome = server.result(run)["outcome"]
    assert outcome["ok"], outcome
    assert (server.suspended, server.thaws, server.images) == ({}, [], {})
    return json.loads(outcome["output"])


def test_one_that_is_connected_to_a_service_of_the_node(
    server: FreezingServer, start: Start, sandbox: dict[str, Any], service: Path
) -> None:
    """By a UNIX socket: nothing else could be connected again in its place."""
    start(sandbox=sandbox | {"readable": [str(service.parent)]})
    run = server.give("connected", str(service), waiting=WAITING)
    assert "a UNIX socket to a process outside of its sandbox" in refusal(server, run)
    assert ends(server, run) == ["yes", "still here"]


def test_one_with_a_device_that_criu_does_not_know(
    server: FreezingServer, start: Start, sandbox: dict[str, Any], device: Path
) -> None:
    start(sandbox=sandbox | {"writable": [str(device)]})
    run = server.give("with-a-device", str(device), waiting=WAITING)
    assert "the device 10:229" in refusal(server, run)
    assert ends(server, run) == ["yes", True]


def test_a_kernel_that_cannot(server: FreezingServer, start: Start) -> None:
    start(prefix=("unshare", "--mount", "sh", "-ec", _OLD_KERNEL, "sh"))
    run = server.give("nothing", waiting=WAITING)
    assert refusal(server, run) == "this kernel lacks CONFIG_CHECKPOINT_RESTORE"
    assert ends(server, run) == "yes"


def test_a_node_without_criu(server: FreezingServer, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_CRIU", "/nowhere/criu")
    start()
    run = server.give("nothing", waiting=WAITING)
    assert refusal(server, run) == "SOJOURN_CRIU=/nowhere/criu is no program"
    assert ends(server, run) == "yes"
