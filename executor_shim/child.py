"""The shim's hold on the user's process: started with nothing of the shim's own, ended with its whole tree."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sojourn.executor_shim import frames
from sojourn.executor_shim.process_tree import children, descendants, is_zombie

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)
#: What a task's process gets of the machine's environment.
_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")


def adopt_orphans() -> None:
    """Whatever the user's process leaves behind becomes the shim's child, so that it can be ended too."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Child:
    """One user process. Its `result`, `stdout` and `stderr` descriptors are read by the shim, without blocking."""

    def __init__(self, tree: Path, variables: Mapping[str, str]):
        control_read, self.control = os.pipe()
        self.result, result_write = os.pipe()
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        environment |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sojourn.executor_shim.runner", str(control_read), str(result_write)],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(control_read, result_write),
            start_new_session=True,
            preexec_fn=_die_with_parent,
            bufsize=0,
        )
        os.close(control_read)
        os.close(result_write)
        assert self._process.stdout and self._process.stderr
        self.stdout = self._process.stdout.fileno()
        self.stderr = self._process.stderr.fileno()
        for fd in (self.result, self.stdout, self.stderr):
            os.set_blocking(fd, False)
        #: Readable once the process has ended: what it left behind may hold its pipes open.
        self.ended = os.pidfd_open(self._process.pid)
        self.decoder = frames.Decoder()
        self.runs = 0

    @property
    def pid(self) -> int:
        """The process, which leads its own session and group."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> bool:
        """Sends a frame; False if the process is gone."""
        try:
            frames.write(self.control, message)
            return True
        except OSError:
            return False

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it lives."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Its exit code, if it ends within `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self, grace: float) -> None:
        """SIGTERM to the group, `grace` seconds, then SIGKILL to every process of the tree; returns when none is left."""
        if self.poll() is None and grace > 0:
            _signal_group(self.pid, signal.SIGTERM)
            self.wait(grace)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the group and to whatever left it; returns when none is left, or after 2 s."""
        _signal_group(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            left = [pid for pid in descendants(os.getpid()) if not is_zombie(pid)]
            for pid in left:
                _signal(pid, signal.SIGKILL)
            self.poll()
            reap_orphans(but_for=self.pid)
            if not left:
                break
            time.sleep(0.005)
        self.wait(1)

    def close(self) -> None:
        """Closes the pipes; an idle process ends by that."""
        for fd in (self.control, self.result, self.ended):
            try:
                os.close(fd)
            except OSError:
                continue
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def reap_orphans(but_for: int) -> None:
    """Collects adopted processes that ended; the user's own is left to its Popen, which wants its exit code."""
    for pid in children(os.getpid()):
        if pid != but_for:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
