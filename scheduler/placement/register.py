"""The register of local executors: a file each, so that a scheduler that was killed leaves nothing unknown behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sojourn.scheduler.placement.base import Placed


@dataclass(frozen=True, slots=True)
class Entry:
    """One executor: its shim's pid and start time (clock ticks since boot) name one process for good."""

    placed: Placed
    pid: int
    started: int


class Register:
    """Files `<executor>.json` in one directory. They hold no secret."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)

    def add(self, entry: Entry) -> None:
        """Writes an executor down, whole or not at all."""
        placed = entry.placed
        text = json.dumps(
            {
                "executor": placed.executor,
                "environment": placed.environment,
                "version": placed.version,
                "machine": placed.machine,
                "is_kept": placed.is_kept,
                "pid": entry.pid,
                "started": entry.started,
            }
        )
        temporary = self._directory / f"{placed.executor}.new"
        temporary.write_text(text)
        temporary.replace(self._path(placed.executor))

    def remove(self, executor: str) -> None:
        """Strikes an executor out."""
        self._path(executor).unlink(missing_ok=True)

    def entries(self) -> Iterator[Entry]:
        """Every executor that was not struck out. A file that cannot be read is removed."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                told = json.loads(path.read_text())
                pid = int(told["pid"])
                names = (told["executor"], told["environment"], told["version"], told["machine"])
                placed = Placed(*names, str(pid), is_kept=bool(told.get("is_kept")))
                yield Entry(placed, pid, int(told["started"]))
            except (ValueError, KeyError, TypeError, OSError):
                path.unlink(missing_ok=True)

    def _path(self, executor: str) -> Path:
        return self._directory / f"{executor}.json"
