"""What the task `notes` wrote: when each attempt lived. The truth about execution, whatever the platform says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Life:
    """One attempt's: from its first line to its last, in seconds of the clock. `ended`: it came to its own end."""

    attempt: int
    pid: int
    began: float
    last: float
    ended: bool


class Ledger:
    """One file, that any number of runs write to."""

    def __init__(self, path: Path):
        self.path = path

    def payload(self, seconds: float, n: int = 0) -> dict[str, object]:
        """What `notes` is to be triggered with."""
        return {"path": str(self.path), "seconds": seconds, "n": n}

    def lives(self, run: str) -> list[Life]:
        """The run's attempts, in the order in which they began; one that was executed twice is there twice."""
        found: dict[tuple[int, int], list[dict[str, str]]] = {}
        for line in self._lines():
            if line["run"] == run:
                found.setdefault((int(line["attempt"]), int(line["pid"])), []).append(line)
        lives = [
            Life(attempt, pid, float(lines[0]["at"]), float(lines[-1]["at"]), lines[-1]["what"] == "end")
            for (attempt, pid), lines in found.items()
        ]
        return sorted(lives, key=lambda life: life.began)

    def _lines(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
