"""The application under the server that it is made for, with that server's own settings, and a count of what reached it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sojourn.control_plane import config, embedded, serve
from sojourn.control_plane.config import Config

CONF = Path(embedded.__file__).with_name("gunicorn_conf.py")
_REACHED = "TEST_REACHED"


@dataclass(frozen=True)
class HttpServer:
    """Where it listens, and where it writes down what reached the application."""

    port: int
    pid: int
    _log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[int]:
        """The ids of its workers' processes."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def peak_memory(self) -> int:
        """The most bytes of memory that any of its workers has had."""
        found = [re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()) for pid in self.workers()]
        return max(int(each[1]) * 1024 for each in found if each)

    def reached(self) -> list[str]:
        """Every request that the application saw: its method and target, as they were sent."""
        return self._log.read_text().splitlines() if self._log.exists() else []


@contextmanager
def served(settings: Config, directory: Path, *arguments: str, **environment: str) -> Iterator[HttpServer]:
    """A gunicorn that was handed a listening socket, so that connections wait until it is there."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
    log = directory / "reached"
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", str(CONF), "--bind", f"fd://{listener.fileno()}",
         "--no-control-socket", "--log-level", "error", *arguments, "tests.support.http_server:application()"],
        env=os.environ | config.to_environment(settings) | environment | {_REACHED: str(log)},
        pass_fds=[listener.fileno()],
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        yield HttpServer(listener.getsockname()[1], process.pid, log)
    finally:
        process.terminate()
        process.wait()
        listener.close()


class Witnessed(serve.Served):
    """Writes every request down before it is answered."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with open(os.environ[_REACHED], "a") as log:
            log.write(f"{environ['REQUEST_METHOD']} {environ.get('RAW_URI')}\n")
        return super().__call__(environ, start_response)


def application() -> Witnessed:
    """Called once in each worker."""
    return Witnessed()
