"""A process out of an image: by links to its memory and copies of the rest, since criu gets another user and leaves a log.

What is damaged, or fails in any other way, is the caller's to drop: a start is then as it would have been without.
"""

from __future__ import annotations

import os

from sojourn.executor_shim.child import Child
from sojourn.executor_shim.freezing import state, trees
from sojourn.executor_shim.freezing.errors import CheckpointInvalid, ThawFailed
from sojourn.executor_shim.starts.checks import Check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.child import Process
    from sojourn.executor_shim.events import Events
    from sojourn.executor_shim.housing import Housing

_MEMORY = "pages-"
#: Seconds for a thawed process to answer, which takes it milliseconds.
_ANSWER = 5.0


def thaw(path: str, files: list[list[Any]], work: str, events: Events, executor: str, housing: Housing, criu: str) -> Child:
    """The child, which has gone on and made itself another. `work`: an empty directory on the image's file system.

    `ThawFailed` (`CheckpointInvalid` for a damaged image), or `OSError`; nothing is left of it then.
    """
    source = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check = Check(source, files)
        check.begin()
        try:
            _lay_out(source, files, work)

            def begin(environment: dict[str, str], pipes: dict[int, int], image: str) -> Process:
                return housing.thaw(environment, pipes, image, criu, check.end)

            child = Child.thawed(events, executor, begin, work)
        finally:
            check.end()
    finally:
        os.close(source)
    child.go_on()
    child.renew(executor)
    if not child.await_prepared(_ANSWER):
        code = child.exit_code
        child.end()
        raise ThawFailed(
            f"its process did not answer in {_ANSWER:g} s" if code is None else f"its process ended with {code}"
        )
    return child


def _lay_out(source: int, files: list[list[Any]], work: str) -> None:
    target = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in sorted({each[0].split("/")[0] for each in files}):
            if name in state.TREES:
                _copy_tree(source, name, target, {each[2]: each[2] for each in files})
            elif not name.startswith(_MEMORY) or not _linked(source, name, target):
                _copy(source, name, target)
    finally:
        os.close(target)


def _linked(source: int, name: str, target: int) -> bool:
    try:
        os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except PermissionError:  # a file system that knows no links
        return False
    return True


def _copy(source: int, name: str, target: int) -> None:
    with (
        open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source), "rb") as reading,
        open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target), "wb") as writing,
    ):
        while data := reading.read(1 << 20):
            writing.write(data)


def _copy_tree(source: int, name: str, target: int, users: dict[int, int]) -> None:
    os.mkdir(name, 0o700, dir_fd=target)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
    try:
        trees.copy(source, name, fd, users)
    finally:
        os.close(fd)


__all__ = ["CheckpointInvalid", "ThawFailed", "thaw"]
