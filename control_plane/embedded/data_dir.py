"""The data directory: marked as ours, held by one stack at a time, with the state that `status` and `down` read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sojourn.scheduler.placement.process import start_time

FORMAT = 1
_MARK, _STATE = "sojourn.json", "stack.json"


class DataDirError(Exception):
    """The directory cannot be used; the text says why and what to do."""


class StackRuns(Exception):
    """A stack runs on this directory already; `state` is what it wrote."""

    def __init__(self, state: dict[str, Any]):
        super().__init__(f"a stack runs here already: {state['api_url']}")
        self.state = state


class DataDir:
    """`open` before anything is written below it."""

    def __init__(self, path: Path):
        self.path = path

    def open(self) -> None:
        """Makes the directory, or checks that it is one of ours; `DataDirError`, `StackRuns`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            mark = self.path / _MARK
            if mark.exists():
                found = json.loads(mark.read_text()).get("format")
                if found != FORMAT:
                    raise DataDirError(
                        f"{self.path} was written by another release (format {found}, this one has {FORMAT})"
                    )
            elif any(self.path.iterdir()):
                raise DataDirError(f"{self.path} has other files in it: name an empty or a new directory by --data-dir")
            else:
                mark.write_text(json.dumps({"format": FORMAT}) + "\n")
                self.path.chmod(0o700)
        except OSError as error:
            raise DataDirError(f"{self.path} cannot be used: {error.strerror}") from error
        except ValueError as error:
            raise DataDirError(f"{self.path}/{_MARK} is damaged: {error}") from error
        running = self.running()
        if running:
            raise StackRuns(running)

    def running(self) -> dict[str, Any] | None:
        """The state of the stack that runs here, if one does."""
        try:
            state: dict[str, Any] = json.loads((self.path / _STATE).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return state if start_time(state["pid"]) == state["started"] else None

    def write_state(self, state: dict[str, Any]) -> None:
        """Says that this process is the stack of the directory."""
        whole = {**state, "pid": os.getpid(), "started": start_time(os.getpid())}
        temporary = self.path / (_STATE + ".new")
        temporary.write_text(json.dumps(whole, indent=2) + "\n")
        temporary.replace(self.path / _STATE)

    def clear_state(self) -> None:
        """The stack is gone."""
        (self.path / _STATE).unlink(missing_ok=True)
