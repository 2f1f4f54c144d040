"""A real stack for tests: `sojourn up` as its user would, on a directory of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sojourn.control_plane.embedded import nomad_remains
from sojourn.control_plane.embedded.free_ports import free_ports
from sojourn.sdk import archive
from sojourn.sdk.client import Client
from sojourn.sdk.manifest import to_pack

#: Short times, so that faults are over quickly.
FAST = {
    "SOJOURN_HEARTBEAT_SECONDS": "0.5",
    "SOJOURN_LEASE_SECONDS": "5",
    "SOJOURN_SWEEP_SECONDS": "1",
    "SOJOURN_DISPATCH_SECONDS": "2",
    "SOJOURN_PLACEMENT_SECONDS": "12",
    "SOJOURN_DRAIN_GRACE_SECONDS": "1",
    "SOJOURN_PLACES": "4",
    "SOJOURN_IDLE_TIMEOUT_SECONDS": "10",
    # Tasks of these tests write to the tests' own files; what is about sandboxes switches them on.
    "SOJOURN_SANDBOX": "off",
}

#: How many times as long as it should take something may take where other tests, or other people, are at work.
BUSY = 3

#: Root may write anywhere and start anything. In a user namespace it is somebody else, who may not.
NOT_ROOT = ("unshare", "--user", "--map-user=65534", "--map-group=65534") if os.geteuid() == 0 else ()


class Deploying(Protocol):
    """What takes a version, as a client does."""

    def deploy(self, manifest: Any, content_hash: str, archive: str) -> Any: ...


class Stack:
    """Started by `up`; `kill` ends one of its processes without a word."""

    def __init__(self, **settings: str):
        self.data_dir = Path(tempfile.mkdtemp(prefix="sojourn-test-"))
        self.environment = {**os.environ, **FAST, **settings, "SOJOURN_DATA_DIR": str(self.data_dir)}
        foreign = {
            "DATABASE_URL",
            "REDIS_URL",
            "SOJOURN_API_URL",
            "SOJOURN_SECRET_KEY",
            "SOJOURN_PLACEMENT",
        } - settings.keys()
        for name in [name for name in self.environment if name in foreign or name.startswith("NOMAD_")]:
            if name not in settings:
                del self.environment[name]
        self.port = free_ports(1)[0]
        self.found: dict[str, Any] = {}

    def up(self) -> dict[str, Any]:
        """Starts it. One that is interrupted meanwhile is waited for, and takes along what it has begun to start."""
        with self.begin("up", "--detach", "--json", "--port", str(self.port)) as command:
            try:
                told, said = command.communicate(timeout=60)
            except BaseException:
                command.terminate()
                command.wait()
                raise
        if command.returncode != 0:
            raise subprocess.CalledProcessError(command.returncode, command.args, told, said)
        self.found = json.loads(told)
        return self.found

    def down(self) -> None:
        self.cli("down")
        nomad_remains.unmount(self.data_dir)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def cli(
        self, *arguments: str, check: bool = True, timeout: float = 60 * BUSY, prefix: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "sojourn.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on, for a signal to end it."""
        return subprocess.Popen(
            [sys.executable, "-m", "sojourn.cli", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def database_url(self) -> str:
        """Where the stack's own PostgreSQL listens."""
        return f"postgresql://postgres@/sojourn?host={self.data_dir}/run"

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cli("status", "--json").stdout)
        return found

    def processes(self) -> list[int]:
        """Every process of this stack: by its environment, its arguments or the directory that it works in."""
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if self._is_ours(entry)]

    def _is_ours(self, entry: Path) -> bool:
        mark = str(self.data_dir).encode()
        try:
            told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            return mark in told or (entry / "cwd").readlink().is_relative_to(self.data_dir)
        except OSError:
            return False

    def client(self, environment: str = "dev") -> Client:
        return Client(self.found["api_url"], self.found["environments"][environment]["secret_key"])

    def deploy(self, directory: Path, environment: str = "dev") -> dict[str, Any]:
        return self.deploy_with(self.client(environment), directory)

    def deploy_with(self, client: Deploying, directory: Path) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile(suffix=".json") as manifest:
            subprocess.run([sys.executable, "-P", "-m", "sojourn.sdk.index", str(directory), manifest.name], check=True)
            found = json.loads(Path(manifest.name).read_text())
        packed, content_hash = archive.pack(directory, to_pack(found))
        return client.deploy(found, content_hash, base64.b64encode(packed).decode())

    def services(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.data_dir / "stack.json").read_text())["services"]
        return found

    def kill(self, service: str) -> None:
        """kill -9 of a service; returns when its successor is there."""
        before = self.services()[service]
        os.kill(before, signal.SIGKILL)
        until(lambda: self.services()[service] != before, 20, f"{service} is started again")

    def executors(self) -> list[int]:
        """The pids of the executors' shims."""
        found = []
        for path in (self.data_dir / "executors").glob("*.json"):
            try:
                found.append(int(json.loads(path.read_text())["pid"]))
            except (ValueError, FileNotFoundError):
                continue
        return found

    def violations(self) -> list[dict[str, str]]:
        done = self.cli("fsck", "--json", check=False)
        found: list[dict[str, str]] = json.loads(done.stdout)["violations"]
        return found

    def logs(self) -> str:
        """What the processes wrote, for a failed test."""
        return "\n".join(f"--- {p.name}\n{p.read_text()[-4000:]}" for p in (self.data_dir / "logs").glob("*.log"))


def refused(stack: Stack, *arguments: str, prefix: tuple[str, ...] = ()) -> str:
    """The one line that `up` leaves; it left nothing else."""
    stack.environment.setdefault("SOJOURN_PORT", str(stack.port))
    done = stack.cli("up", *arguments, check=False, prefix=prefix)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (2, "", 1), done
    assert lines[0].startswith("sojourn: ")
    assert "secret" not in lines[0]
    assert stack.processes() == []
    return lines[0]


def until(holds: Callable[..., Any], seconds: float, what: str) -> Any:
    """Looks again and again until something holds; an error that names it after `seconds`, times `BUSY`.

    `holds` is called with nothing; a lambda may bind what a loop goes over as `lambda run=run: …`.
    """
    deadline = time.monotonic() + seconds * BUSY
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)
    return found
