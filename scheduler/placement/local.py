"""Local placement: executors as processes of this machine.

A scheduler that comes back after it was killed takes the living executors over, and ends what a dead one left.
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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sojourn.control_plane.domain import exits
from sojourn.control_plane.domain.keeping import KEPT_IDLE_SECONDS
from sojourn.control_plane.domain.resting import Resting
from sojourn.scheduler.placement.base import CannotPlace, Closed, Ended, ExecutorSpec, Ground, Placed
from sojourn.scheduler.placement.process import is_alive, kill, start_time
from sojourn.scheduler.placement.register import Entry, Register
from sojourn.scheduler.placement.remains import Remains

log = logging.getLogger(__name__)

#: Seconds beyond a shim's own graces before it is killed, and between two looks at the processes below the shims.
_MARGIN, _LOOK = 2.0, 1.0
_LOG_BYTES = 8 * 1024 * 1024
#: What a shim gets of the scheduler's environment: nothing that leads to a datastore.
_PASSED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH",
    "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "XDG_CACHE_HOME", "SOJOURN_CRIU",
    "SOJOURN_CRIU_SECONDS", "SOJOURN_FREEZE_DIR",
)  # fmt: skip


@dataclass
class _Local:
    """One executor. `process` is None for one that an earlier scheduler started."""

    entry: Entry
    process: subprocess.Popen[bytes] | None
    pidfd: int
    remains: Remains
    deadline: float | None = None


class LocalPlacement:
    """`shim` are settings that every executor gets; `on_ended` is called from another thread when one has ended.

    `resting` tells of the runs that only wait in memory: their executors are room for others.
    """

    def __init__(
        self,
        registry_dir: Path,
        places: int,
        shim: Mapping[str, Any],
        on_ended: Callable[[], None] = lambda: None,
        python: str = sys.executable,
        resting: Callable[[], Resting] = lambda: Resting(0, 0),
    ):
        self._register = Register(registry_dir)
        self._log_path = registry_dir.parent / "logs" / "executors.log"
        self._own_places = self._places = places
        self._resting = resting
        self._shim = dict(shim)
        # A shim that is told to leave lets its run go on for a while, then hands it back.
        self._moment = _MARGIN + float(shim.get("drain_grace", 5)) + float(shim.get("term_grace", 1))
        self._on_ended = on_ended
        self._python = python
        self._changed = threading.Condition()
        self._local: dict[str, _Local] = {}
        self._ended: dict[str, Ended] = {}
        self._is_closing = False
        self._wake, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._adopt()
        threading.Thread(target=self._watch, name="placement", daemon=True).start()

    def grounds(self) -> Sequence[Ground]:
        return (self,)

    def serves(self, lane: str) -> bool:
        return True

    def free(self) -> int:
        places = self._resting().places(self._own_places)
        with self._changed:
            self._places = places  # what is placed next is placed by this count, though a run may have gone on meanwhile
            return 0 if self._is_closing else max(places - len(self._local), 0)

    def is_full(self) -> bool:
        return self.free() == 0

    def closed_lanes(self) -> Mapping[str, Closed]:
        return {}

    def place(self, spec: ExecutorSpec) -> None:
        with self._changed:
            if spec.executor in self._local:
                return
            if self._is_closing:
                raise CannotPlace("the scheduler is stopping")
            if len(self._local) >= self._places:
                raise CannotPlace(f"all {self._places} places are taken")
            try:
                process = self._start(spec)
            except OSError as error:
                raise CannotPlace(f"the executor's process cannot be started: {error}") from error
            handle, is_kept = str(process.pid), spec.run is None
            placed = Placed(spec.executor, spec.environment, spec.version, spec.machine, handle, is_kept)
            entry = Entry(placed, process.pid, start_time(process.pid) or 0)
            self._local[spec.executor] = _Local(entry, process, os.pidfd_open(process.pid), Remains(spec.executor))
            try:
                self._register.add(entry)
            except OSError:  # it runs, and will be ended with this scheduler; a later one would not know it
                log.exception("the executor %s cannot be written down", spec.executor)
        self._wake_watcher()

    def stop(self, executor: str, grace: float) -> None:
        with self._changed:
            local = self._local.get(executor)
            if local is None:
                return
            local.remains.look(local.entry.pid)
            kill(local.entry.pid, signal.SIGTERM)
            deadline = time.monotonic() + (grace or self._moment)
            local.deadline = min(local.deadline or deadline, deadline)
        self._wake_watcher()

    def living(self) -> list[Placed]:
        with self._changed:
            return [local.entry.placed for local in self._local.values()]

    def ended(self) -> list[Ended]:
        with self._changed:
            return list(self._ended.values())

    def settled(self, executors: Collection[str]) -> None:
        with self._changed:
            over = [executor for executor in executors if self._ended.pop(executor, None)]
        for executor in over:
            self._register.remove(executor)

    def close(self, grace: float) -> None:
        with self._changed:
            self._is_closing = True
            executors = list(self._local)
        for executor in executors:
            self.stop(executor, grace)
        self._wake_watcher()
        with self._changed:
            self._changed.wait_for(lambda: not self._local, (grace or self._moment) + self._moment)

    def leave(self) -> None:
        """On one machine a scheduler that is stopped is a stack that is: they are ended."""
        self.close(self._moment)

    # --- starting

    def _start(self, spec: ExecutorSpec) -> subprocess.Popen[bytes]:
        settings = {
            **self._shim,
            "executor": spec.executor,
            "credential": spec.credential,
            "version_hash": spec.version_hash,
            "thaws": spec.node_type is not None,
        }
        if spec.run is None:
            settings["idle_timeout"] = KEPT_IDLE_SECONDS
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            with self._log_file().open("ab") as output:
                process = subprocess.Popen(
                    [self._python, "-P", "-m", "sojourn.executor_shim", "--config-fd", str(read)],
                    env={name: os.environ[name] for name in _PASSED if name in os.environ},
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
        path = self._log_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
        return path

    def _adopt(self) -> None:
        """Executors of a scheduler that died: the living are taken over, the dead are told as ended."""
        for entry in self._register.entries():
            executor, pidfd = entry.placed.executor, _open(entry.pid)
            if pidfd is not None and is_alive(entry.pid, entry.started):
                self._local[executor] = _Local(entry, None, pidfd, Remains(executor))
                continue
            if pidfd is not None:
                os.close(pidfd)
            self._end_remains(executor, Remains(executor))
            self._ended[executor] = Ended(executor, None, "it was gone when the scheduler came back")

    # --- the watcher's thread

    def _watch(self) -> None:
        """Notices ends as they happen, and makes those leave whose grace is over."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        watched: dict[int, str] = {}
        while True:
            with self._changed:
                if self._is_closing and not self._local:
                    return
                for executor, local in self._local.items():
                    if local.pidfd not in watched:
                        watched[local.pidfd] = executor
                        poll.register(local.pidfd, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(self._patience() * 1000)]
            if self._wake in ready:
                os.read(self._wake, 4096)
            gone = [fd for fd in ready if fd in watched]
            for fd in gone:
                poll.unregister(fd)
                self._bury(watched.pop(fd))
            self._press()
            if gone:
                self._tell()

    def _patience(self) -> float:
        with self._changed:
            deadlines = [local.deadline for local in self._local.values() if local.deadline is not None]
            idle = not self._local
        wait = 60.0 if idle else _LOOK  # who lives is looked at now and then, so that what it left is known
        return max(min([wait, *(deadline - time.monotonic() for deadline in deadlines)]), 0)

    def _press(self) -> None:
        with self._changed:
            locals_ = list(self._local.values())
        now = time.monotonic()
        for local in locals_:
            local.remains.look(local.entry.pid)
            if local.deadline is not None and local.deadline <= now:
                kill(local.entry.pid, signal.SIGKILL)
                local.deadline = now + self._moment

    def _bury(self, executor: str) -> None:
        """A shim ended: whatever is left of its tree ends too, before anybody is told."""
        with self._changed:
            local = self._local[executor]
        exit_code = local.process.wait() if local.process is not None else None
        self._end_remains(executor, local.remains)
        os.close(local.pidfd)
        reason = "its process ended" if exit_code is None else exits.told(exit_code)
        with self._changed:
            del self._local[executor]
            self._ended[executor] = Ended(executor, exit_code, reason)
            self._changed.notify_all()

    def _end_remains(self, executor: str, remains: Remains) -> None:
        if not remains.end():
            log.error("processes of the executor %s cannot be killed", executor)

    def _tell(self) -> None:
        try:
            self._on_ended()
        except Exception:  # the watch must go on; who was not called looks by itself before long
            log.exception("nobody could be told that an executor ended")

    def _wake_watcher(self) -> None:
        try:
            os.write(self._ring, b"!")
        except BlockingIOError:
            return  # it has not read the last ones yet


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
