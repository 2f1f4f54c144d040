"""Where plain images lie while they are written and read: in memory if that can be, and never longer than their shim lives.

A place is locked as long as its shim lives. One that is not was left by a shim that was killed, and is removed by the next
shim that looks: it has a process's memory in clear.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "sojourn-freeze-"
_MEMORY = "/dev/shm"  # noqa: S108


@contextmanager
def workplace(base: str | None = None) -> Iterator[str]:
    """A directory for plain images that root alone reads, gone afterwards. `OSError`.

    `base` or SOJOURN_FREEZE_DIR name another place than memory.
    """
    sweep(base)
    made, lock = _locked(_within(base))
    try:
        yield made
    finally:
        _remove(made)
        os.close(lock)


def sweep(base: str | None = None) -> int:
    """Removes what shims that were killed have left there; how many places."""
    removed = 0
    with suppress(OSError):
        for entry in os.scandir(_within(base)):
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                removed += _remove_left(entry.path)
    return removed


def _within(base: str | None) -> str:
    wanted = base or os.environ.get("SOJOURN_FREEZE_DIR") or (_MEMORY if os.path.ismount(_MEMORY) else None)
    if wanted is None:
        import tempfile

        wanted = tempfile.gettempdir()
    return wanted


def _locked(within: str) -> tuple[str, int]:
    """A fresh directory, and what locks it. One that was swept before it was locked is made anew."""
    while True:
        made = os.path.join(within, _PREFIX + os.urandom(8).hex())
        os.mkdir(made, 0o700)
        with suppress(FileNotFoundError):
            lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.isdir(made):
                return made, lock
            os.close(lock)


def _remove_left(path: str) -> bool:
    """Removes one that is ours and that nobody locks; whether it did. It is locked meanwhile."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = os.fstat(fd).st_uid == os.geteuid()
        if is_ours:
            _remove(path)
        return is_ours
    except OSError:
        return False
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
