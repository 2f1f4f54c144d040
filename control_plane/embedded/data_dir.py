"""The data directory: marked as ours, held by one stack at a time, with the state that `status` and `down` read."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from sojourn.scheduler.placement.process import start_time

FORMAT = 1
_MARK, _STATE, _LOCK = "sojourn.json", "stack.json", "stack.lock"


class DataDirError(Exception):
    """The directory cannot be used; the text says why and what to do."""


class StackRuns(Exception):
    """A stack runs on this directory already; `state` is what it wrote, None before it is ready."""

    def __init__(self, state: dict[str, Any] | None):
        super().__init__("a stack runs here already")
        self.state = state


class DataDir:
    """`open` before anything is written below it.

    `moved_from`: where the directory was when a stack last ran on it, if that was elsewhere; known once it is open.
    """

    def __init__(self, path: Path):
        self.path = path
        self.moved_from: str | None = None
        self._lock: int | None = None

    def open(self) -> None:
        """Makes the directory or checks that it is ours, and holds it for this process; `DataDirError`, `StackRuns`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._mark()
            self._hold()
        except FileExistsError as error:
            raise DataDirError(f"{self.path} is a file: name a directory by --data-dir") from error
        except OSError as error:
            advice = "name a directory that you may write to by --data-dir"
            raise DataDirError(f"{self.path} cannot be used ({error.strerror}): {advice}") from error

    def _mark(self) -> None:
        mark = self.path / _MARK
        if mark.exists():
            self._check_format(mark)
        elif any(self.path.iterdir()):
            raise DataDirError(f"{self.path} has other files in it: name an empty or a new directory by --data-dir")
        else:
            mark.write_text(json.dumps({"format": FORMAT, "path": self._place()}) + "\n")
            self.path.chmod(0o700)

    def _check_format(self, mark: Path) -> None:
        try:
            noted = json.loads(mark.read_text())
            found = noted["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise DataDirError(f"{mark} is damaged: restore it, or name another directory by --data-dir") from error
        if found != FORMAT:
            raise DataDirError(
                f"{self.path} was written by another release (format {found}, this one has {FORMAT}):"
                " use that release, or name another directory by --data-dir"
            )
        place = noted.get("path")  # earlier releases noted none
        self.moved_from = place if isinstance(place, str) and place != self._place() else None

    def note_place(self) -> None:
        """The directory is at home where it is now, from the next `open` on."""
        self._replace(_MARK, json.dumps({"format": FORMAT, "path": self._place()}) + "\n")

    def _place(self) -> str:
        return str(self.path.resolve())

    def _hold(self) -> None:
        """The kernel lets the lock go when this process is gone, however it ends. Children do not inherit it."""
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StackRuns(self.running()) from None
        self._lock = lock

    def running(self) -> dict[str, Any] | None:
        """The state of the stack that runs here, if one does."""
        try:
            state: dict[str, Any] = json.loads((self.path / _STATE).read_text())
        except (OSError, ValueError):
            return None
        return state if start_time(state["pid"]) == state["started"] else None

    def left_behind(self) -> bool:
        """Whether the last stack was killed: it cleared nothing away, and its servers may be just ending."""
        return (self.path / _STATE).exists()

    def write_state(self, state: dict[str, Any]) -> None:
        """Says that this process is the stack of the directory."""
        whole = {**state, "pid": os.getpid(), "started": start_time(os.getpid())}
        self._replace(_STATE, json.dumps(whole, indent=2) + "\n")

    def clear_state(self) -> None:
        """The stack is gone."""
        (self.path / _STATE).unlink(missing_ok=True)

    def _replace(self, name: str, text: str) -> None:
        """A file is written whole or stays as it was."""
        temporary = self.path / f"{name}.new"
        temporary.write_text(text)
        temporary.replace(self.path / name)
