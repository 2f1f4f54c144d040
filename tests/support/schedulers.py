"""Schedulers beside the one of a stack, as other machines would have them; and clocks that are wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sojourn.control_plane.store.database import Database
from tests.support.stack import Stack, until

#: As the stack starts it, and so that it leads whoever leads besides: it takes another lock.
_USUAL = ("-m", "sojourn.scheduler")
_LEADS_ANYWAY = ("-c", "import sojourn.scheduler.__main__ as m; m.LEADER_LOCK += 1; raise SystemExit(m.main())")

#: Loaded by every Python with its directory on PYTHONPATH; shifts the wall clock of schedulers alone.
_SHIFTED = """
import datetime, os, sys, time

shift = float(os.environ.get("SHIFTED_BY", 0))
if shift and any("sojourn.scheduler" in word for word in sys.orig_argv):
    true_time, true_ns, true_date = time.time, time.time_ns, datetime.datetime
    time.time = lambda: true_time() + shift
    time.time_ns = lambda: true_ns() + int(shift * 1e9)

    class Kind(type):
        def __instancecheck__(cls, value):
            return isinstance(value, true_date)

    class Date(true_date, metaclass=Kind):
        @classmethod
        def now(cls, tz=None):
            return true_date.now(tz) + datetime.timedelta(seconds=shift)

        @classmethod
        def utcnow(cls):
            return true_date.utcnow() + datetime.timedelta(seconds=shift)

    datetime.datetime = Date
"""


def environment_of(stack: Stack, service: str = "scheduler") -> dict[str, str]:
    """The environment that a stack's service was started with."""
    text = Path(f"/proc/{stack.services()[service]}/environ").read_bytes().decode()
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def database_of(stack: Stack) -> Database:
    """The stack's own database."""
    return Database(environment_of(stack)["DATABASE_URL"], connections=2)


def leads(log: Path) -> bool:
    """Whether the scheduler that writes this log was the leader when it last said so."""
    told = [line for line in log.read_text().splitlines() if "this scheduler " in line] if log.exists() else []
    return bool(told) and told[-1].endswith("leads")


def wrong_clock(directory: Path) -> str:
    """Makes the module that shifts clocks by SHIFTED_BY seconds; for PYTHONPATH."""
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(_SHIFTED)
    return str(directory)


class Scheduler:
    """A further scheduler of a stack, with a data directory of its own."""

    def __init__(self, stack: Stack, directory: Path, *, leads_anyway: bool = False, **settings: str):
        self.data_dir = directory
        self.log = directory / "scheduler.log"
        directory.mkdir(exist_ok=True)
        environment: dict[str, Any] = {**environment_of(stack), "SOJOURN_DATA_DIR": str(directory), **settings}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *(_LEADS_ANYWAY if leads_anyway else _USUAL)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def leads(self) -> bool:
        return leads(self.log)

    def executors(self) -> set[str]:
        """The names of the executors that it placed and that live."""
        return {path.stem for path in (self.data_dir / "executors").glob("*.json")}

    def stop(self) -> None:
        """Ends it, and its executors with it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Paused:
    """While it is entered, a process does nothing: as one that its host has forgotten for a while."""

    def __init__(self, pid: int):
        self.pid = pid

    def __enter__(self) -> Paused:
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: _state(self.pid) == "T", 5, "it stands still")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.kill(self.pid, signal.SIGCONT)
        except ProcessLookupError:
            return


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
