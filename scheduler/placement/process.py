"""Processes of this machine by pid and start time, so that a number that was used again is never mistaken."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None


def is_alive(pid: int, started: int | None) -> bool:
    """Whether a process lives, and is the one that started then."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return False
    return fields[0] != "Z" and (started is None or int(fields[19]) == started)


def descendants(pid: int) -> list[int]:
    """Everything below a process."""
    found: list[int] = []
    left = [pid]
    while left:
        left = [child for parent in left for child in _children(parent)]
        found += left
    return found


def kill(pid: int, number: signal.Signals) -> None:
    """Sends a signal; a process that is gone is no error."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += [int(word) for word in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return found
    return found
