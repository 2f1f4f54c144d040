"""Criu, run by a sandbox's init: asked for, waited for, and what it said."""

from __future__ import annotations

import base64
import json
import os
import socket

from sojourn.executor_shim.freezing import memo
from sojourn.executor_shim.sandbox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sojourn.executor_shim.sandbox.process import SandboxedProcess

_MARGIN = 10.0
_MOST = 1 << 17
_MOST_OF_A_LOG = 1 << 20


class Said(Record):
    """How criu ended: its exit code (negative: the signal), whether it was killed for its time, its log."""

    status: int
    is_late: bool
    log: str


def run(
    process: SandboxedProcess, do: str, arguments: list[str], criu: str, directory: int, pipes: list[int], seconds: float
) -> Said:
    """Runs criu inside. In `arguments` `{1}` is the directory, from `{2}` on the pipes. `OSError`: init does not answer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = os.open(criu, os.O_RDONLY | os.O_CLOEXEC)
    log = f"{do}.log"
    try:
        usual = [do, "-D", "/proc/self/fd/{1}", "-o", log, "-v2", "--no-default-config"]
        known = memo.load(process.run_dir, criu)
        asked = {"do": do, "seconds": seconds, "arguments": [*usual, *arguments], "memo": base64.b64encode(known).decode()}
        process.ask(asked, [theirs.fileno(), program, directory, *pipes])
        theirs.close()
        ours.settimeout(seconds + _MARGIN)
        answer = ours.recv(_MOST)
        if not answer:
            raise ConnectionError("the sandbox ended meanwhile")
        told = json.loads(answer)
        if not known and told["status"] == 0 and told["memo"]:
            memo.keep(process.run_dir, criu, base64.b64decode(told["memo"]))
        return Said(told["status"], told["late"], _log(directory, log))
    finally:
        os.close(program)
        ours.close()
        theirs.close()


class Inside(Record):
    """A sandbox's private directories as descriptors, by their name in an image, and kinds of System V's objects."""

    trees: dict[str, int]
    ipc: list[str]


def look(process: SandboxedProcess) -> Inside:
    """What a sandbox has beside processes. `OSError`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        process.ask({"do": "show"}, [theirs.fileno()])
        theirs.close()
        ours.settimeout(_MARGIN)
        data, descriptors, _, _ = socket.recv_fds(ours, 4096, 4)
        if not data:
            raise ConnectionError("the sandbox ended meanwhile")
        told = json.loads(data)
        return Inside(dict(zip(told["trees"], descriptors, strict=True)), told["ipc"])
    finally:
        ours.close()
        theirs.close()


def _log(directory: int, name: str) -> str:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(_MOST_OF_A_LOG).decode(errors="replace")
