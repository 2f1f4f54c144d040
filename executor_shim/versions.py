"""Version trees on a node: fetched by their hash, verified, published by a rename; the same path on every node."""

from __future__ import annotations

import fcntl
import os
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HASH = re.compile(r"[0-9a-f]{64}")
_LOCK, _FETCHING = ".lock", ".fetching-"
#: Beside a tree: images of processes that have imported it (see `starts`).
_STARTS = ".starts"
#: Seconds after which a tree that was never published is somebody's who died.
_ABANDONED = 3600
#: How often an archive is fetched that came damaged.
_TRIES = 3


class Trees:
    """The trees below one directory, of which about `most` are kept: those not in use go, the longest unused first.

    A tree is in use while an executor holds a shared lock on the file beside it, which ends with the executor.
    """

    def __init__(self, directory: str, most: int):
        self._directory = directory
        self._most = most
        self._lock: int | None = None

    def ensure(self, content_hash: str, fetch: Callable[[str], bytes]) -> str:
        """The path of the tree of that hash, which stays until this process ends. `ValueError` if it cannot be right.

        What came damaged is fetched again: the fault may be the way's. Two executors that need it at once may both fetch
        it: one rename wins, and both trees are the same.
        """
        if not _HASH.fullmatch(content_hash):
            raise ValueError(f"{content_hash[:80]!r} is not the hash of a version")
        os.makedirs(self._directory, exist_ok=True)
        tree = os.path.join(self._directory, content_hash)
        self.release()
        self._lock = _locked(tree + _LOCK, fcntl.LOCK_SH)
        os.utime(tree + _LOCK)
        if not os.path.isdir(tree):
            self._fetch(tree, content_hash, fetch)
            self._evict()
        return tree

    def release(self) -> None:
        """The tree is no longer in use here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _fetch(self, tree: str, content_hash: str, fetch: Callable[[str], bytes]) -> None:
        from sojourn.sdk.archive import ArchiveError

        for left in reversed(range(_TRIES)):
            try:
                self._publish(tree, content_hash, fetch(content_hash))
                return
            except ArchiveError:
                if not left:
                    raise

    def _publish(self, tree: str, content_hash: str, packed: bytes) -> None:
        import shutil
        import tempfile
        from pathlib import Path

        from sojourn.sdk import archive

        fresh = tempfile.mkdtemp(prefix=_FETCHING, dir=self._directory)
        try:
            found = archive.unpack(packed, Path(fresh))
            if found != content_hash:
                raise archive.ArchiveError(f"the archive of {content_hash} unpacks to {found}")
            for directory, _, _ in os.walk(fresh):
                os.chmod(directory, 0o755)  # noqa: S103 - code is no secret from the user it runs as
            try:
                os.rename(fresh, tree)
            except OSError:
                if not os.path.isdir(tree):
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _evict(self) -> None:
        import shutil

        for entry in os.scandir(self._directory):
            if entry.name.startswith(_FETCHING) and entry.stat().st_mtime < time.time() - _ABANDONED:
                shutil.rmtree(entry.path, ignore_errors=True)
        locks = [entry for entry in os.scandir(self._directory) if entry.name.endswith(_LOCK)]
        locks.sort(key=lambda entry: entry.stat().st_mtime)
        left = len(locks)
        for entry in locks:
            lock = _locked(entry.path, fcntl.LOCK_EX | fcntl.LOCK_NB) if left > self._most else None
            if lock is None:
                continue
            try:
                left -= 1
                shutil.rmtree(entry.path.removesuffix(_LOCK), ignore_errors=True)
                shutil.rmtree(entry.path.removesuffix(_LOCK) + _STARTS, ignore_errors=True)
                os.unlink(entry.path)
            finally:
                os.close(lock)


def _locked(path: str, how: int) -> int | None:
    """A descriptor of the lock file that is still the file of that name; None if it may not be locked now."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, how)
            if os.path.exists(path) and os.stat(path).st_ino == os.fstat(fd).st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        os.close(fd)
