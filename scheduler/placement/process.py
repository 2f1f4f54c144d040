"""Processes of this machine by pid and start time, so that a number that was used again is never mistaken."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None for one that is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_alive(pid: int, started: int | None) -> bool:
    """Whether a process lives, and is the one that started then."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX" and (started is None or int(fields[19]) == started)


def session(pid: int) -> int | None:
    """The session a process belongs to."""
    fields = _stat(pid)
    return int(fields[3]) if fields else None


def marked(text: str) -> Iterator[int]:
    """Processes that were started with this `NAME=value` in their environment, as far as one may look."""
    wanted = b"\0" + text.encode() + b"\0"
    for pid in processes():
        try:
            if wanted in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
                yield pid
        except OSError:
            continue


def is_apart(pid: int) -> bool:
    """Whether a process is in another namespace of processes than this one, as those in a sandbox are."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def processes() -> list[int]:
    """Every process of this machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def kill(pid: int, number: signal.Signals) -> None:
    """Sends a signal; a process that is gone is no error."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name: state, parent, group, session …; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []
