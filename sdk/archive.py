"""A project's tree of files as one archive, named by the hash of what is in it.

A zip of regular files only, with fixed dates and sorted names, so that the same tree always gives the same hash.
Unpacking trusts nothing in it: names, counts and sizes are checked before a byte is written.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

MAX_FILES = 20_000
MAX_TREE_BYTES = 256 * 1024 * 1024
MAX_ARCHIVE_BYTES = 50 * 1024 * 1024
_MAX_DEPTH, _MAX_PATH = 32, 512

#: Never packed: version control, environments, caches, builds, secrets.
IGNORED = (
    ".git", ".hg", ".svn", ".venv", "venv", "env", "node_modules", "__pycache__", "*.pyc", ".env", ".env.*", ".sojourn",
    "dist", "build", "*.egg-info", "*.pem", "*.key", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store",
)  # fmt: skip
IGNORE_FILE = ".sojournignore"
_DATE = (1980, 1, 1, 0, 0, 0)


class ArchiveError(ValueError):
    """The archive, or the tree to be packed, is not one that may be unpacked."""


def included(directory: Path) -> list[str]:
    """The files of a project that are packed, as sorted relative paths with `/`."""
    patterns = IGNORED + tuple(_own_patterns(directory))
    return sorted(_walk(directory, "", patterns))


def pack(directory: Path, made: Mapping[str, str] | None = None) -> tuple[bytes, str]:
    """The archive of a project and the hash of its tree. `made`: text by path, which goes with its files."""
    paths = included(directory)
    if len(paths) > MAX_FILES:
        raise ArchiveError(f"{len(paths)} files, more than {MAX_FILES}: leave some out by {IGNORE_FILE}")
    buffer, lines, total = io.BytesIO(), [], 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, executable, data in _to_pack(directory, paths, made or {}):
            total += len(data)
            if total > MAX_TREE_BYTES:
                raise ArchiveError(f"more than {MAX_TREE_BYTES} bytes: leave files out by {IGNORE_FILE}")
            entry = zipfile.ZipInfo(path, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, data)
            lines.append(_line(path, executable, data))
    packed = buffer.getvalue()
    if len(packed) > MAX_ARCHIVE_BYTES:
        raise ArchiveError(f"the archive has {len(packed)} bytes, more than {MAX_ARCHIVE_BYTES}")
    return packed, _hash(lines)


def tree_hash(packed: bytes) -> str:
    """The hash of an archive's tree; `ArchiveError` for one that must not be unpacked. Writes nothing."""
    return _hash([_line(path, executable, data) for path, executable, data in _entries(packed)])


def unpack(packed: bytes, target: Path) -> str:
    """Writes an archive's files below an empty directory; the hash of the tree."""
    lines = []
    for path, executable, data in _entries(packed):
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "xb") as file:
            file.write(data)
        os.chmod(place, 0o755 if executable else 0o644)
        lines.append(_line(path, executable, data))
    return _hash(lines)


def _to_pack(directory: Path, paths: list[str], made: Mapping[str, str]) -> Iterator[tuple[str, bool, bytes]]:
    for path in sorted({*paths, *made}):
        if path in made:
            yield path, False, made[path].encode()
        else:
            yield path, bool((directory / path).stat().st_mode & 0o100), (directory / path).read_bytes()


def _entries(packed: bytes) -> Iterator[tuple[str, bool, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            entries = archive.infolist()
            _check(entries)
            left = MAX_TREE_BYTES
            for entry in sorted(entries, key=lambda e: e.filename):
                with archive.open(entry) as file:
                    data = file.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise ArchiveError(f"it unpacks to more than {MAX_TREE_BYTES} bytes")
                yield entry.filename, bool((entry.external_attr >> 16) & 0o100), data
    except ArchiveError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds for broken input
        raise ArchiveError(f"it is no usable zip archive: {error}") from error


def _check(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_FILES:
        raise ArchiveError(f"it has more than {MAX_FILES} files")
    if sum(entry.file_size for entry in entries) > MAX_TREE_BYTES:
        raise ArchiveError(f"it unpacks to more than {MAX_TREE_BYTES} bytes")
    seen: set[str] = set()
    for entry in entries:
        name, mode = entry.filename, (entry.external_attr >> 16) & 0o170000
        parts = name.split("/")
        bad = (
            not name
            or len(name) > _MAX_PATH
            or len(parts) > _MAX_DEPTH
            or "\\" in name
            or any(part in ("", ".", "..") for part in parts)
            or any(ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF for char in name)
        )
        if bad:
            raise ArchiveError(f"it has a file of a name that is not allowed: {name[:80]!r}")
        if mode not in (0, 0o100000) or entry.is_dir() or entry.flag_bits & 1:
            raise ArchiveError(f"{name[:80]!r} is not a regular file")
        if name in seen:
            raise ArchiveError(f"it has {name[:80]!r} twice")
        seen.add(name)


def _walk(directory: Path, prefix: str, patterns: tuple[str, ...]) -> Iterator[str]:
    for entry in sorted(os.scandir(directory / prefix if prefix else directory), key=lambda e: e.name):
        path = f"{prefix}{entry.name}"
        if any(fnmatch.fnmatch(entry.name, pattern) or fnmatch.fnmatch(path, pattern) for pattern in patterns):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(directory, path + "/", patterns)
        elif entry.is_file(follow_symlinks=False):
            yield path


def _own_patterns(directory: Path) -> Iterator[str]:
    own = directory / IGNORE_FILE
    if own.is_file():
        for line in own.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line.strip().rstrip("/")


def _line(path: str, executable: bool, data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()}  {'755' if executable else '644'}  {path}\n"


def _hash(lines: list[str]) -> str:
    return hashlib.sha256("".join(sorted(lines, key=lambda line: line.split("  ", 2)[2])).encode()).hexdigest()
