"""Objects as files below a directory, on this machine or on storage that every control plane and scheduler mounts."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from sojourn.control_plane.store.objects import CHUNK, ObjectMissing, Objects, ObjectsUnavailable, Opened, Stored, checked

T = TypeVar("T")

#: What a file is called while it is written; no object's name begins so.
_PARTIAL = ".partial-"
#: An empty file in a root that others mount: without it what is there may be the place where nothing is mounted yet.
MARK = ".sojourn-objects"
_NOT_MOUNTED = f"its directory is not there, or is empty and has no {MARK}: is its storage mounted?"
#: Bytes after which a file's data is sent to the disk, so that the last wait for it is short.
_FLUSH = 64 * CHUNK


class DirectoryObjects(Objects):
    """Files of mode 0600 in directories of mode 0700. Published by a rename, when their bytes are on the disk.

    `is_used`: whether objects are known to have been put there; None for a directory of the platform's own. Storage that
    is mounted may be away, and its empty place says nothing about what is on it: the first object puts a mark beside it.
    """

    def __init__(self, root: Path, is_used: Callable[[], bool] | None = None):
        self._root = root
        self._is_used = is_used
        self._was_there = False

    def put(self, name: str, chunks: Iterable[bytes]) -> int:
        path = self._path(name)
        partial = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
        with _failures():
            if self._is_used is not None and not _aside(self._is_marked):
                if not self._is_there():
                    raise ObjectsUnavailable(_NOT_MOUNTED)
                _aside(_mark, self._root)
                self._was_there = True
            _aside(_make_directories, self._root, path.parent)
            file = _aside(_create, partial)
        try:
            written = self._write(file, chunks)
            with _failures():
                _aside(_publish, file, partial, path)
        except BaseException:
            file.close()
            partial.unlink(missing_ok=True)
            raise
        return written

    def open(self, name: str) -> Opened:
        try:
            file = _aside(_open, self._path(name))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if not _aside(self._root.is_dir) or not self._is_there():
                raise ObjectsUnavailable(_NOT_MOUNTED) from None
            raise ObjectMissing(name) from None
        except OSError as error:
            raise ObjectsUnavailable(_said(error)) from error
        return Opened(os.fstat(file.fileno()).st_size, _read(file))

    def url(self, name: str, method: str, seconds: int, media_type: str | None) -> str | None:
        return None

    def delete(self, name: str) -> None:
        path = self._path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            if not self._is_there():
                raise ObjectsUnavailable(_NOT_MOUNTED) from None
        except (NotADirectoryError, IsADirectoryError):
            if self._root.exists() and not self._root.is_dir():
                raise ObjectsUnavailable(_NOT_MOUNTED) from None
            return
        except OSError as error:
            raise ObjectsUnavailable(_said(error)) from error
        self._remove_empty(path.parent)

    def list(self, prefix: str) -> Iterator[Stored]:
        with _failures():
            for path, found in self._files(self._root / prefix):
                if not path.name.startswith(_PARTIAL):
                    name = path.relative_to(self._root).as_posix()
                    yield Stored(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def abandon(self, before: datetime) -> int:
        removed = 0
        with _failures():
            for path, found in self._files(self._root):
                if path.name.startswith(_PARTIAL) and found.st_mtime < before.timestamp():
                    path.unlink(missing_ok=True)
                    self._remove_empty(path.parent)
                    removed += 1
        return removed

    def _is_there(self) -> bool:
        """Whether what the root shows is all that is stored. One of before this release has no mark, but objects."""
        with _failures():
            if self._is_used is None or _aside(self._is_marked):
                return True
            return not self._was_there and (_aside(_has_entries, self._root) or not self._is_used())

    def _is_marked(self) -> bool:
        found = (self._root / MARK).exists()
        self._was_there = self._was_there or found
        return found

    def _path(self, name: str) -> Path:
        return self._root / checked(name)

    def _write(self, file: BinaryIO, chunks: Iterable[bytes]) -> int:
        written = flushed = 0
        for chunk in chunks:
            with _failures():
                _aside(file.write, chunk)
                written += len(chunk)
                if written - flushed >= _FLUSH:
                    _aside(_flush, file)
                    flushed = written
        return written

    def _files(self, directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(directory):
            for name in names:
                path = Path(folder, name)
                try:
                    found = path.lstat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield path, found

    def _remove_empty(self, directory: Path) -> None:
        """Directories that hold nothing any more; an upload that makes one anew at this moment tries again."""
        while directory != self._root:
            try:
                directory.rmdir()
            except OSError:
                return
            directory = directory.parent


def _make_directories(root: Path, directory: Path) -> None:
    missing = [directory, *directory.parents]
    for path in reversed(missing[: missing.index(root) + 1]):
        path.mkdir(mode=0o700, parents=path == root, exist_ok=True)


def _mark(root: Path) -> None:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    (root / MARK).touch(mode=0o600)


def _has_entries(root: Path) -> bool:
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is not None
    except FileNotFoundError:
        return False


def _open(path: Path) -> FileIO:
    return open(path, "rb", buffering=0)


def _create(partial: Path) -> BinaryIO:
    # No umask makes this readable for others: it takes rights away only.
    try:
        return os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except FileNotFoundError:  # its directory was empty, and removed, since it was made
        partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(file: BinaryIO, partial: Path, path: Path) -> None:
    _flush(file)
    file.close()
    os.replace(partial, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(file: Any) -> Iterator[bytes]:
    with file:
        while True:
            try:
                chunk = _aside(file.read, CHUNK)
            except OSError as error:
                raise ObjectsUnavailable(_said(error)) from error
            if not chunk:
                return
            yield chunk


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ObjectsUnavailable(_said(error)) from error


def _said(error: OSError) -> str:
    return f"the object store's directory: {error.strerror or type(error).__name__}"


def _aside(call: Callable[..., T], *arguments: Any) -> T:
    """`call`, in a real thread where greenlets stand for threads: a slow disk would keep every other request waiting."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return call(*arguments)
    result, error = sys.modules["gevent"].get_hub().threadpool.apply(_outcome, (call, *arguments))
    if error is not None:
        raise error
    return cast("T", result)


def _outcome(call: Callable[..., T], *arguments: Any) -> tuple[T | None, Exception | None]:
    """What a call gives, or raises: what is raised in gevent's thread is written to the log, though somebody expects it."""
    try:
        return call(*arguments), None
    except Exception as error:
        return None, error
