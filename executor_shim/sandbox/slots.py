"""A node's places for sandboxes: a number each, held by a lock that ends with its sandbox, whatever ends that."""

from __future__ import annotations

import fcntl
import os


class NoSlot(OSError):
    """Every place of this node is taken."""


def take(run_dir: str, count: int) -> tuple[int, int]:
    """A free number below `count`, and the descriptor that holds it: it is free again when the last copy is closed."""
    directory = os.path.join(run_dir, "slots")
    os.makedirs(directory, 0o700, exist_ok=True)
    for number in range(count):
        fd = os.open(os.path.join(directory, str(number)), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, fd
        except BlockingIOError:
            os.close(fd)
    raise NoSlot(f"all {count} places for sandboxes are taken")
