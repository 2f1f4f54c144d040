"""What an agent leaves when it ends: tasks, the processes that watch them, and mounts below its directory.

Nomad lets tasks outlive the agent so that the next one takes them over. When the stack ends, nobody does.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sojourn.scheduler.placement.process import kill, processes

_LIBC = ctypes.CDLL(None, use_errno=True)
_DETACH = 2
#: What Nomad tells a task of its directories, each below that of its allocation.
_DIRECTORIES = ("NOMAD_ALLOC_DIR", "NOMAD_TASK_DIR", "NOMAD_SECRETS_DIR")
#: What the agent calls its own program by for each task.
_HELPERS = (b"executor", b"logmon", b"docker_logger")


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
    """What is Nomad's below an agent's directory: tasks and all that came of them, and the agent's own helpers.

    Whose directory or command line merely names such a path, as an operator's shell does, is a bystander.
    """
    identifiers = [path.name.encode() for path in allocations.glob("*-*-*-*-*")]
    others = (pid for pid in processes() if pid != os.getpid())
    return [pid for pid in others if _is_task(pid, allocations, identifiers) or _is_helper(pid, directory)]


def _is_task(pid: int, allocations: Path, identifiers: Sequence[bytes]) -> bool:
    """By control group, which holds whatever a task became; else by what Nomad puts into a task's environment."""
    if any(each in _read(pid, "cgroup") for each in identifiers):
        return True
    given = tuple(f"{name}={allocations}/".encode() for name in _DIRECTORIES)
    return any(each.startswith(given) for each in _read(pid, "environ").split(b"\0"))


def _is_helper(pid: int, directory: Path) -> bool:
    """The agent's program again: it watches a task, or writes its logs. Where, it is told or has from the agent."""
    arguments = _read(pid, "cmdline").split(b"\0")
    if arguments[1:2] not in ([each] for each in _HELPERS):
        return False
    return f"{directory}/".encode() in b" ".join(arguments[2:]) or _works_in(pid, directory)


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory
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
