"""Processes as /proc tells of them: children, descendants, resident memory."""

from __future__ import annotations

import os
from functools import cache

_PAGE = os.sysconf("SC_PAGE_SIZE")


@cache
def _kernel_lists_children() -> bool:
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def children(pid: int) -> list[int]:
    """The direct children of a process, whatever thread started them."""
    if not _kernel_lists_children():
        return [each for each in _processes() if _field(each, 1) == pid]
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        return found
    return found


def descendants(pid: int) -> list[int]:
    """Everything below a process."""
    found: list[int] = []
    left = children(pid)
    while left:
        found += left
        left = [grandchild for child in left for grandchild in children(child)]
    return found


def parent(pid: int) -> int:
    """The parent of a process; 0 for one that is gone."""
    return _field(pid, 1) or 0


def is_zombie(pid: int) -> bool:
    """Whether a process has ended; one that was not collected counts as ended."""
    fields = _stat(pid)
    return not fields or fields[0] in (b"Z", b"X")


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; memory that it shares with others is counted whole."""
    try:
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def proportional_bytes(pid: int) -> int:
    """Resident memory of one process, its share of shared memory only; resident memory where the kernel cannot tell."""
    try:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return resident_bytes(pid)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _field(pid: int, index: int) -> int | None:
    fields = _stat(pid)
    return int(fields[index]) if fields else None


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/<pid>/stat behind the name: state, parent …; empty for one that is gone."""
    try:
        return _read(f"/proc/{pid}/stat").rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return []


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        data = os.read(fd, 1 << 16)
        while len(data) % 4096 == 0 and (more := os.read(fd, 1 << 16)):
            data += more
        return data
    finally:
        os.close(fd)
