"""What an agent leaves when it ends: tasks, the processes that watch them, and mounts below its directory.

Nomad lets tasks outlive the agent so that the next one takes them over. When the stack ends, nobody does.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from sojourn.scheduler.placement.process import kill, processes

_LIBC = ctypes.CDLL(None, use_errno=True)
_DETACH = 2


def agents(configuration: Path) -> list[int]:
    """The agents that run on a configuration file. Plugins and tasks have other arguments."""
    wanted = f"-config={configuration}".encode()
    return [pid for pid in processes() if wanted in _read(pid, "cmdline").split(b"\0")]


def end_agents(configuration: Path, seconds: float = 10) -> None:
    """Ends an agent whose stack was killed; two on one directory would wait for each other for ever."""
    deadline = time.monotonic() + seconds
    while found := agents(configuration):
        for pid in found:
            kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.05)


def end_tasks(directory: Path, allocations: Path, seconds: float = 10) -> list[int]:
    """Kills what lives below an agent that has ended; those that are there still after `seconds`."""
    deadline = time.monotonic() + seconds
    while (found := remaining(directory, allocations)) and time.monotonic() < deadline:
        for pid in found:
            kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return found


def unmount(directory: Path) -> None:
    """Takes away every mount below a directory, the deepest first.

    A directory with the mounts of a task's root in it must never be removed: /dev of the machine is one of them.
    """
    below = f"{directory}/"
    for point in sorted((p for p in mount_points() if p.startswith(below)), key=len, reverse=True):
        _LIBC.umount2(point.encode(), _DETACH)


def remaining(directory: Path, allocations: Path) -> list[int]:
    """By control group, which holds whatever a task became; else by directory, arguments and environment."""
    identifiers = [path.name.encode() for path in allocations.glob("*-*-*-*-*")]
    place = str(directory).encode()
    found = []
    for pid in processes():
        if pid == os.getpid():
            continue
        groups = _read(pid, "cgroup")
        told = _read(pid, "cmdline") + _read(pid, "environ")
        if place in told or _works_below(pid, directory) or any(each in groups for each in identifiers):
            found.append(pid)
    return found


def _works_below(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(directory)
    except OSError:
        return False


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def mount_points() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        yield re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4])
