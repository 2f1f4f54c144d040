"""The control plane under the server it is made for, with that server's own settings, on a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sojourn.control_plane import config, embedded
from sojourn.control_plane import serve as served
from sojourn.control_plane.config import Config
from tests.support.memory import memory

_CONF = Path(embedded.__file__).with_name("gunicorn_conf.py")
_REACHED = "TEST_REACHED"


class WebServer:
    """A gunicorn of some workers. Connections wait until one is there, since the socket is the test's."""

    def __init__(self, pid: int, port: int, log: Path | None = None):
        self.pid = pid
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = log

    def workers(self) -> list[int]:
        """The pids of its workers."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def kill_workers(self) -> None:
        """As a loss of power would; gunicorn begins others."""
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)

    def peak_memory(self) -> int:
        """The most bytes of memory that any of its workers has had."""
        return max(memory(pid, "VmHWM") for pid in self.workers())

    def reached(self) -> list[str]:
        """Every request that the application saw: its method and target, as they were sent."""
        return self._log.read_text().splitlines() if self._log and self._log.exists() else []


@contextmanager
def serve(
    of: Config, workers: int = 1, *, log: Path | None = None, arguments: Sequence[str] = (), **environment: str
) -> Iterator[WebServer]:
    """Serves a platform's database and Redis until the end of the block. `log`: where what reaches it is written down."""
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as listener:
        command = ["-m", "gunicorn", "--config", str(_CONF), "-w", str(workers), "-b", f"fd://{listener.fileno()}"]
        command += ["--no-control-socket", "--log-level", "error", *arguments]
        process = subprocess.Popen(
            [sys.executable, *command, "tests.support.web_server:application()"],
            env=os.environ | config.to_environment(of) | environment | {_REACHED: str(log or os.devnull)},
            pass_fds=[listener.fileno()],
            cwd=Path(__file__).parents[2],
        )
        try:
            yield WebServer(process.pid, int(listener.getsockname()[1]), log)
        finally:
            process.terminate()
            process.wait()


class Witnessed(served.Served):
    """Writes every request down before it is answered."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with open(os.environ[_REACHED], "a") as log:
            log.write(f"{environ['REQUEST_METHOD']} {environ.get('RAW_URI')}\n")
        return super().__call__(environ, start_response)


def application() -> Witnessed:
    """Called once in each worker."""
    return Witnessed()
