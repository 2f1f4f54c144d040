"""The control plane under the server it is made for, on a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sojourn.control_plane import config
from sojourn.control_plane.config import Config

_APPLICATION = "sojourn.control_plane.serve:application()"


class WebServer:
    """A gunicorn of some workers. Connections wait until one is there, since the socket is the test's."""

    def __init__(self, pid: int, port: int):
        self.pid = pid
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def workers(self) -> list[int]:
        """The pids of its workers."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def kill_workers(self) -> None:
        """As a loss of power would; gunicorn begins others."""
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)


@contextmanager
def serve(of: Config, workers: int = 1) -> Iterator[WebServer]:
    """Serves a platform's database and Redis until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = ["-m", "gunicorn", "-k", "gevent", "-w", str(workers), "-b", f"fd://{listener.fileno()}"]
        process = subprocess.Popen(
            [sys.executable, *command, "--no-control-socket", "--log-level", "error", _APPLICATION],
            env=os.environ | config.to_environment(of),
            pass_fds=[listener.fileno()],
        )
        try:
            yield WebServer(process.pid, int(listener.getsockname()[1]))
        finally:
            process.terminate()
            process.wait()
