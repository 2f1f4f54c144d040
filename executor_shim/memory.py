"""How much memory a user's process tree has, and whether the kernel ended one of it for want of memory."""

from __future__ import annotations

import os

from sojourn.executor_shim.process_tree import proportional_bytes, resident_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Process(Protocol):
        """What has a tree below it."""

        @property
        def exit_code(self) -> int | None: ...
        def members(self) -> list[int]: ...


def resident(processes: list[int]) -> int:
    """The bytes that processes hold; what several share is counted for each."""
    return sum(resident_bytes(each) for each in processes)


def above(processes: list[int], limit: int) -> int | None:
    """The bytes that processes hold, if that is more than `limit`.

    Processes that were forked share memory, so a sum of resident sizes that is too large is looked at again by shares.
    """
    used = resident(processes)
    if used > limit and len(processes) > 1:
        used = sum(proportional_bytes(each) for each in processes)
    return used if used > limit else None


class KernelKills:
    """Counts the kernel's out-of-memory kills in a cgroup (either version): by its file, or else this process's own."""

    def __init__(self, path: str | None = None) -> None:
        #: Whether the group is the user's process's alone.
        self.is_own = path is not None
        self._path = path or _counter_file()
        self._before = self._count()

    def happened(self) -> bool:
        """Whether there was one since this was last asked."""
        before, self._before = self._before, self._count()
        return self._before > before

    def _count(self) -> int:
        try:
            with open(self._path, encoding="ascii") as file:
                return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
        except (OSError, ValueError, IndexError):
            return 0


class MemoryLimit:
    """What one process tree may have: `limit` bytes, or what the kernel lets it."""

    def __init__(self, process: Process, kills: KernelKills, limit: int | None):
        self._process = process
        self._kills = kills
        self._limit = limit

    def exceeded(self) -> str | None:
        """How much more it has, or that the kernel ended one of its processes: what is left is not what was meant to run.

        None: neither, or it has ended.
        """
        limit = self._limit
        if limit and (used := above(self._process.members(), limit)) is not None:
            return f"{used >> 20} of {limit >> 20} MB"
        return self.killed() if self._kills.is_own and self._process.exit_code is None else None

    def killed(self) -> str | None:
        """That the kernel ended something for want of memory since this was last asked; None: it did not."""
        if not self._kills.happened():
            return None
        return (
            f"the kernel has ended it at the limit of {self._limit >> 20} MB" if self._limit else "the kernel has ended it"
        )


def _counter_file() -> str:
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return os.devnull
    for _, kinds, path in groups:
        if "memory" in kinds.split(","):
            return f"/sys/fs/cgroup/memory{path}/memory.oom_control"
    return next((f"/sys/fs/cgroup{path}/memory.events" for _, kinds, path in groups if not kinds), os.devnull)
