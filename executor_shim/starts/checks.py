"""Sizes and checksums of an image's files, so that a damaged one is never restored.

They guard against a disk, not against people: whoever could change an image is root. So they are CRCs, one for each MiB,
which take a quarter of the time of a cryptographic digest. Memory, nearly all of an image, is checked in a thread while the
sandbox is made.
"""

from __future__ import annotations

import os
import stat
import threading
import zlib

from sojourn.executor_shim.freezing import trees
from sojourn.executor_shim.freezing.errors import CheckpointInvalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PIECE = 1 << 20
_MEMORY = "pages-"
#: What is not of the process: our own notes, and criu's.
_NOT_ITS_OWN = ("about.json", "figures.json", "stats-dump", "stats-restore")


def taken(directory: int) -> list[list[Any]]:
    """Every file, directory and link of an image, with what it is to be; as JSON has it."""
    return [_known(directory, entry, checked=True) for entry in _entries(directory)]


class Check:
    """One check of an image (a descriptor) against what was taken. `begin` judges all but its memory, `end` that."""

    def __init__(self, directory: int, expected: list[list[Any]]):
        self._directory = directory
        self._expected = expected
        self._memory = [each for each in expected if each[0].startswith(_MEMORY)]
        self._found = ""
        self._thread = threading.Thread(target=self._look, name="check", daemon=True)

    def begin(self) -> None:
        """`CheckpointInvalid`."""
        found = [_known(self._directory, entry, checked=not _is_memory(entry)) for entry in _entries(self._directory)]
        wanted = [[*each[:-1], None] if each in self._memory else each for each in self._expected]
        if found != wanted:
            differs = next((each[0] for each in wanted + found if each not in found or each not in wanted), "it")
            raise CheckpointInvalid(f"{differs} of the image is not what was written")
        self._thread.start()

    def end(self) -> None:
        """Waits for the thread. `CheckpointInvalid`."""
        self._thread.join()
        if self._found:
            raise CheckpointInvalid(self._found)

    def _look(self) -> None:
        try:
            for path, *_, checks in self._memory:
                if _checks(self._directory, path) != checks:
                    self._found = f"{path} of the image is damaged"
        except OSError as error:
            self._found = f"the image cannot be read: {error}"


def _entries(directory: int) -> list[trees.Entry]:
    entries = [each for each in trees.walk(directory) if each.path not in (".", *_NOT_ITS_OWN)]
    return sorted((each for each in entries if not each.path.endswith(".log") or "/" in each.path), key=lambda e: e.path)


def _known(directory: int, entry: trees.Entry, *, checked: bool) -> list[Any]:
    info = entry.info
    is_file = stat.S_ISREG(info.st_mode) and not entry.same
    checks = _checks(directory, entry.path) if is_file and checked else None
    size = info.st_size if stat.S_ISREG(info.st_mode) else 0
    return [entry.path, info.st_mode, info.st_uid, size, entry.target, entry.same, checks]


def _is_memory(entry: trees.Entry) -> bool:
    return entry.path.startswith(_MEMORY)


def _checks(directory: int, path: str) -> list[int]:
    found = []
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        while size := os.readv(fd, [buffer]):
            found.append(zlib.crc32(view[:size]))
    finally:
        os.close(fd)
    return found
