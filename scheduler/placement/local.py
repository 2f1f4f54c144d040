"""Local placement: executors as processes of this machine.

Each has a file in a directory, so that a scheduler that was killed leaves nothing unknown behind: the next one takes
the living over, and ends what a dead shim left.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sojourn.scheduler.placement.base import CannotPlace, Ended, ExecutorSpec, Placed
from sojourn.scheduler.placement.process import descendants, is_alive, kill, start_time

log = logging.getLogger(__name__)

#: Seconds between SIGTERM and SIGKILL for a shim that was told to leave at once.
_MOMENT = 3.0
_LOG_BYTES = 8 * 1024 * 1024


@dataclass
class _Local:
    """One executor's process. `process` is None for one that an earlier scheduler started."""

    placed: Placed
    pid: int
    started: int
    process: subprocess.Popen[bytes] | None
    pidfd: int
    group: set[int]
    deadline: float | None = None


class LocalPlacement:
    """`shim` are settings that every executor gets; `on_ended` is called from another thread when one has ended."""

    def __init__(
        self,
        registry_dir: Path,
        places: int,
        shim: Mapping[str, Any],
        on_ended: Callable[[], None] = lambda: None,
        python: str = sys.executable,
    ):
        self._registry = registry_dir
        self._places = places
        self._shim = dict(shim)
        self._on_ended = on_ended
        self._python = python
        self._lock = threading.Lock()
        self._local: dict[str, _Local] = {}
        self._ended: list[Ended] = []
        self._closing = False
        self._registry.mkdir(parents=True, exist_ok=True)
        self._wake, self._ring = os.pipe()
        self._adopt()
        self._watcher = threading.Thread(target=self._watch, name="placement", daemon=True)
        self._watcher.start()

    def free(self) -> int:
        with self._lock:
            return 0 if self._closing else max(self._places - len(self._local), 0)

    def place(self, spec: ExecutorSpec) -> None:
        with self._lock:
            if spec.executor in self._local:
                return
            if self._closing:
                raise CannotPlace("the scheduler is stopping")
            if len(self._local) >= self._places:
                raise CannotPlace(f"all {self._places} places are taken")
            try:
                process = self._start(spec)
            except OSError as error:
                raise CannotPlace(f"the executor's process cannot be started: {error}") from error
            placed = Placed(spec.executor, spec.environment, spec.version, spec.machine, str(process.pid))
            started = start_time(process.pid) or 0
            self._remember(placed, process.pid, started)
            self._local[spec.executor] = _Local(placed, process.pid, started, process, os.pidfd_open(process.pid), set())
        os.write(self._ring, b"!")

    def stop(self, executor: str, grace: float) -> None:
        with self._lock:
            local = self._local.get(executor)
            if local is None:
                return
            local.group |= set(descendants(local.pid))
            kill(local.pid, signal.SIGTERM)
            deadline = time.monotonic() + (grace or _MOMENT)
            local.deadline = min(local.deadline or deadline, deadline)
        os.write(self._ring, b"!")

    def living(self) -> list[Placed]:
        with self._lock:
            return [local.placed for local in self._local.values()]

    def ended(self) -> list[Ended]:
        with self._lock:
            told, self._ended = self._ended, []
            return told

    def close(self, grace: float) -> None:
        with self._lock:
            self._closing = True
            names = list(self._local)
        for executor in names:
            self.stop(executor, grace)
        until = time.monotonic() + (grace or _MOMENT) + _MOMENT
        while time.monotonic() < until and self.living():
            time.sleep(0.02)

    # --- inside

    def _start(self, spec: ExecutorSpec) -> subprocess.Popen[bytes]:
        settings = {
            **self._shim,
            "executor": spec.executor,
            "credential": spec.credential,
            "version_hash": spec.version_hash,
        }
        read, write = os.pipe()
        try:
            with self._log_file().open("ab") as output:
                process = subprocess.Popen(
                    [self._python, "-m", "sojourn.executor_shim", "--config-fd", str(read)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(read,),
                    start_new_session=True,
                )
            os.write(write, json.dumps(settings).encode())
            return process
        finally:
            os.close(read)
            os.close(write)

    def _log_file(self) -> Path:
        path = self._registry.parent / "logs" / "executors.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
        return path

    def _remember(self, placed: Placed, pid: int, started: int) -> None:
        entry = {
            "executor": placed.executor,
            "environment": placed.environment,
            "version": placed.version,
            "machine": placed.machine,
            "pid": pid,
            "started": started,
        }
        path = self._registry / f"{placed.executor}.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(entry))
        temporary.replace(path)

    def _adopt(self) -> None:
        """Executors of a scheduler that died: the living are taken over, the dead are told as ended."""
        for path in sorted(self._registry.glob("*.json")):
            try:
                entry = json.loads(path.read_text())
                placed = Placed(
                    entry["executor"], entry["environment"], entry["version"], entry["machine"], str(entry["pid"])
                )
            except (ValueError, KeyError, OSError):
                path.unlink(missing_ok=True)
                continue
            pid, started = int(entry["pid"]), int(entry["started"])
            if is_alive(pid, started):
                self._local[placed.executor] = _Local(placed, pid, started, None, os.pidfd_open(pid), set())
            else:
                path.unlink(missing_ok=True)
                self._ended.append(Ended(placed.executor, None, "it was gone when the scheduler came back"))

    def _watch(self) -> None:
        """Notices ends as they happen, and makes those leave whose grace is over."""
        while True:
            with self._lock:
                fds = {local.pidfd: name for name, local in self._local.items()}
                soonest = min((each.deadline for each in self._local.values() if each.deadline), default=None)
            timeout = None if soonest is None else max(soonest - time.monotonic(), 0)
            # A living shim's tree is looked at now and then, so that it is known should the shim be killed.
            readable, _, _ = select.select([*fds, self._wake], [], [], min(timeout, 1.0) if timeout else timeout or 1.0)
            if self._wake in readable:
                os.read(self._wake, 4096)
            gone = [fds[fd] for fd in readable if fd in fds]
            for executor in gone:
                self._bury(executor)
            self._press(time.monotonic())
            if gone:
                self._on_ended()

    def _press(self, now: float) -> None:
        with self._lock:
            for local in self._local.values():
                local.group |= set(descendants(local.pid))
                if local.deadline is not None and local.deadline <= now:
                    kill(local.pid, signal.SIGKILL)
                    local.deadline = now + _MOMENT

    def _bury(self, executor: str) -> None:
        """A shim ended: whatever is left of its tree ends too, before anybody is told."""
        with self._lock:
            local = self._local.pop(executor)
        exit_code = local.process.wait() if local.process is not None else None
        os.close(local.pidfd)
        for pid in local.group:
            if is_alive(pid, None):
                kill(pid, signal.SIGKILL)
        (self._registry / f"{executor}.json").unlink(missing_ok=True)
        reason = "its process ended" if exit_code is None else _told(exit_code)
        with self._lock:
            self._ended.append(Ended(executor, exit_code, reason))


def _told(exit_code: int) -> str:
    if exit_code >= 0:
        return f"its process exited with code {exit_code}"
    try:
        return f"its process was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"its process was ended by signal {-exit_code}"
