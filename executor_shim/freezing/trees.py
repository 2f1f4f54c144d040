"""A sandbox's private files: walked without following what user code may have laid there, and copied with their owners.

All that could change them is stopped meanwhile. Sockets are left out: criu makes those that are in use again.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import NamedTuple

    class Entry(NamedTuple):
        """`path` is relative; `target`: where a link leads; `same`: the path of an earlier one that is this file."""

        path: str
        info: os.stat_result
        target: str
        same: str

else:
    from collections import namedtuple

    Entry = namedtuple("Entry", "path info target same")

_KEPT = (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
_PIECE = 1 << 20
#: The last moment that a file can have, in nanoseconds.
_LATEST = (2**63 - 1) * 10**9


def walk(root: int) -> Iterator[Entry]:
    """Everything below a directory, a directory before what is in it; `root` itself is `.`. Other mounts are left out."""
    known: dict[tuple[int, int], str] = {}
    left = ["."]
    top = os.stat(root)
    yield Entry(".", top, "", "")
    while left:
        directory = left.pop()
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            names = sorted(os.listdir(fd))
            for name in names:
                info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                kind = stat.S_IFMT(info.st_mode)
                if kind not in _KEPT or info.st_dev != top.st_dev:
                    continue
                path = name if directory == "." else f"{directory}/{name}"
                same = ""
                if kind == stat.S_IFDIR:
                    left.append(path)
                elif info.st_nlink > 1:
                    same = known.setdefault((info.st_dev, info.st_ino), path)
                target = os.readlink(name, dir_fd=fd) if kind == stat.S_IFLNK else ""
                yield Entry(path, info, target, "" if same == path else same)
        finally:
            os.close(fd)


def extents(fd: int, size: int) -> list[tuple[int, int]]:
    """Where a file has bytes: offsets and lengths; what lies between is zero and takes no room."""
    found = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                break
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, min(at, size) - start))
    return found


def copy(directory: int, name: str, target: int, users: Mapping[int, int]) -> None:
    """Copies the tree `name` of a directory into another; owners as `users` has them, else root.

    One that is not there is an empty one. The other has nothing but directories that lead to mounts.
    """
    try:
        source = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        directories = []
        for entry in walk(source):
            if entry.path != "." and not (stat.S_ISDIR(entry.info.st_mode) and _is_there(target, entry.path)):
                _copy(source, target, entry)
                own(target, entry, users.get(entry.info.st_uid, 0), users.get(entry.info.st_gid, 0))
            if stat.S_ISDIR(entry.info.st_mode):
                directories.append(entry)
        for entry in reversed(directories):  # their times changed with what was put into them
            date(target, entry.path, entry.info.st_mtime_ns)
    finally:
        os.close(source)


def own(root: int, entry: Entry, uid: int, gid: int) -> None:
    """Gives what was made its owner and its rights."""
    if entry.same:
        return
    os.chown(entry.path, uid, gid, dir_fd=root, follow_symlinks=False)
    if not stat.S_ISLNK(entry.info.st_mode):
        os.chmod(entry.path, stat.S_IMODE(entry.info.st_mode), dir_fd=root)
    if not stat.S_ISDIR(entry.info.st_mode):
        date(root, entry.path, entry.info.st_mtime_ns)


def date(root: int, path: str, changed: int) -> None:
    """Sets when something was changed, in nanoseconds."""
    moment = max(min(changed, _LATEST), -_LATEST)  # user code can set what a float then rounds up
    os.utime(path, ns=(moment, moment), dir_fd=root, follow_symlinks=False)


def _is_there(root: int, path: str) -> bool:
    try:
        os.stat(path, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _copy(source: int, target: int, entry: Entry) -> None:
    path, kind = entry.path, stat.S_IFMT(entry.info.st_mode)
    if entry.same:
        os.link(entry.same, path, src_dir_fd=target, dst_dir_fd=target, follow_symlinks=False)
    elif kind == stat.S_IFDIR:
        os.mkdir(path, 0o700, dir_fd=target)
    elif kind == stat.S_IFLNK:
        os.symlink(entry.target, path, dir_fd=target)
    elif kind == stat.S_IFIFO:
        os.mkfifo(path, 0o600, dir_fd=target)
    else:
        _copy_file(source, target, entry)


def _copy_file(source: int, target: int, entry: Entry) -> None:
    reading = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        writing = os.open(entry.path, flags, 0o600, dir_fd=target)
        try:
            os.truncate(writing, entry.info.st_size)
            for start, length in extents(reading, entry.info.st_size):
                os.lseek(writing, start, os.SEEK_SET)
                end = start + length
                while start < end:
                    start += os.sendfile(writing, reading, start, min(end - start, _PIECE))
        finally:
            os.close(writing)
    finally:
        os.close(reading)
