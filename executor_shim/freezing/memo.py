"""What criu found out about the kernel, kept for its next start on this node: looking takes it a third of its time.

Criu itself keeps it in /run, where it finds it again by name alone; in a sandbox /run is gone with that. It holds for one
boot of the machine and one build of criu, and so it is named by them.
"""

from __future__ import annotations

import os
from functools import cache

_BOOT = "/proc/sys/kernel/random/boot_id"


def load(run_dir: str, criu: str) -> bytes:
    """What was kept; empty: nothing yet."""
    try:
        with open(_path(run_dir, criu), "rb") as file:
            return file.read()
    except OSError:
        return b""


def keep(run_dir: str, criu: str, found: bytes) -> None:
    """Keeps it, by rename. Where that cannot be, criu looks again next time."""
    path = _path(run_dir, criu)
    fresh = f"{path}.{os.getpid()}"
    try:
        os.makedirs(run_dir, 0o700, exist_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(found)
        os.rename(fresh, path)
    except OSError:
        return


def _path(run_dir: str, criu: str) -> str:
    return os.path.join(run_dir, f"criu-{_name(criu)}")


@cache
def _name(criu: str) -> str:
    """Of the boot, and of the file: to read it all would be a part of each thaw."""
    with open(_BOOT, encoding="ascii") as file:
        boot = file.read().strip()
    info = os.stat(criu)
    return f"{boot}-{info.st_dev:x}-{info.st_ino:x}-{info.st_size:x}-{info.st_mtime_ns:x}"
