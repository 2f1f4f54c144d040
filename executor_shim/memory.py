"""How much memory a user's process tree has, and whether the kernel ended one of it for want of memory."""

from __future__ import annotations

import os

from sojourn.executor_shim.process_tree import proportional_bytes, resident_bytes


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
