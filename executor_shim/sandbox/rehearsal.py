"""Whether this node freezes processes, found out by doing it: a small program is frozen, and thawed in another sandbox."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from sojourn.executor_shim.freezing import find_criu, obstacle, places
from sojourn.executor_shim.freezing.errors import FreezeFailed, ThawFailed
from sojourn.executor_shim.sandbox.process import SandboxedProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sojourn.executor_shim.sandbox.keeper import Keeper
    from sojourn.executor_shim.sandbox.options import Plan

_PROGRAM = "import os; os.write(1, b'!'); os.read(3, 1)"
_SECONDS = 10.0


def why_not(keeper: Keeper, plan: Plan) -> str | None:
    """Why a process cannot be frozen here, in one line; None: it can. `SandboxFailed` where there is no sandbox."""
    why = obstacle()
    criu = find_criu()
    if why is not None or criu is None:
        return why
    try:
        with places.workplace() as place, _pipes() as (pipes, output):
            process = SandboxedProcess(keeper, plan, [sys.executable, "-I", "-c", _PROGRAM], pipes)
            try:
                os.read(output, 1)
                _freeze(process, place, criu)
            finally:
                _end(process)
            with _pipes() as (others, _):
                _end(SandboxedProcess.thawed(keeper, plan, others, place, criu, _SECONDS))
    except (FreezeFailed, ThawFailed) as failed:
        return str(failed)
    except OSError as error:
        return str(error.strerror or error)
    return None


@contextmanager
def _pipes() -> Iterator[tuple[dict[int, int], int]]:
    """A program's descriptors by their number there, and where its output is read."""
    output, writing = os.pipe2(os.O_CLOEXEC)
    reading, never = os.pipe2(os.O_CLOEXEC)
    try:
        yield {1: writing, 2: writing, 3: reading}, output
    finally:
        for fd in (output, writing, reading, never):
            os.close(fd)


def _freeze(process: SandboxedProcess, place: str, criu: str) -> None:
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for fd in process.freeze(directory, criu, _SECONDS).values():
            os.close(fd)
    finally:
        os.close(directory)


def _end(process: SandboxedProcess) -> None:
    process.kill()
    process.close()
