"""A node's places for sandboxes: a number each, held by a lock that ends with its sandbox, whatever ends that.

A lock is two: a file that user code cannot reach, and a name in the network namespace, where interfaces and addresses are
named by the number. Tasks of some drivers have directories of their own, and share the network all the same.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket


class NoSlot(OSError):
    """Every place of this node is taken."""


def take(run_dir: str, count: int) -> tuple[int, tuple[int, int]]:
    """A free number below `count`, and the descriptors that hold it: it is free again when the last copies are closed."""
    directory = os.path.join(run_dir, "slots")
    os.makedirs(directory, 0o700, exist_ok=True)
    for number in range(count):
        fd = os.open(os.path.join(directory, str(number)), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name.bind(f"\0sojourn-slot-{number}")
            return number, (fd, name.detach())
        except OSError as error:
            os.close(fd)
            name.close()
            if not isinstance(error, BlockingIOError) and error.errno != errno.EADDRINUSE:
                raise
    raise NoSlot(errno.EAGAIN, f"all {count} places for sandboxes are taken")


def group_name(number: int, lock: int) -> str:
    """The name of a slot's control group: that of nobody else on this kernel, where containers may be nodes, too.

    Each of those has its own numbers, and may have the same tree of groups; a lock file is one of a kind.
    """
    told = os.fstat(lock)
    return f"sojourn-{number}-{told.st_dev:x}-{told.st_ino:x}"
