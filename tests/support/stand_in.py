"""A program in criu's place: it says that it was called, does what a test wants, then is criu."""

from __future__ import annotations

import os
import select
import shutil
import time
from pathlib import Path

#: criu is run with its user's real number and root's effective one, which a shell would give up without -p.
_PROGRAM = """#!/bin/sh -p
case "$1" in --*) exec {directory}/real "$@" ;; esac
echo "$1" > {directory}/calls
eval "$(cat {directory}/before-$1)"
exec {directory}/real "$@"
"""


class StandIn:
    """In a directory that sandboxes see. `before(verb, shell)` is what is done before each dump or restore, or instead."""

    def __init__(self, directory: Path, criu: str):
        self._directory = directory
        directory.mkdir(mode=0o755)
        self.path = directory / "criu"
        shutil.copy(criu, directory / "real")
        for name in ("calls", "go"):
            os.mkfifo(directory / name)
            (directory / name).chmod(0o666)
        self._calls = os.open(directory / "calls", os.O_RDWR | os.O_NONBLOCK)
        self._heard: list[str] = []
        for verb in ("dump", "restore"):
            self.before(verb, "")
        self.path.write_text(_PROGRAM.format(directory=directory))
        self.path.chmod(0o755)

    def before(self, verb: str, shell: str) -> None:
        """From now on; empty for nothing."""
        new = self._directory / ".new"
        new.write_text(shell)
        new.chmod(0o644)
        new.replace(self._directory / f"before-{verb}")

    def says(self, word: str) -> str:
        """Shell by which it says so, when it has read what it does: `calls` and `wait` count that, too."""
        return f"echo {word} > {self._directory}/calls; "

    @property
    def stands(self) -> str:
        """Shell by which it says `stands`, and does so until `let_go`."""
        return f"{self.says('stands')}read _ < {self._directory}/go; "

    def let_go(self, seconds: float = 60) -> None:
        """One that stands goes on."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                go = os.open(self._directory / "go", os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:  # nobody reads yet
                assert time.monotonic() < deadline, "criu does not stand"
                time.sleep(0.01)
        os.write(go, b"\n")
        os.close(go)

    def calls(self, verb: str) -> int:
        """How often it was called so far."""
        self._listen(0)
        return self._heard.count(verb)

    def wait(self, verb: str, calls: int, seconds: float = 120) -> None:
        """Until it was called so often."""
        deadline = time.monotonic() + seconds
        while self.calls(verb) < calls:
            assert time.monotonic() < deadline, f"criu was not asked to: {verb}"
            self._listen(0.1)

    def close(self) -> None:
        os.close(self._calls)

    def _listen(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._calls, select.POLLIN)
        if poll.poll(seconds * 1000):
            self._heard += os.read(self._calls, 1 << 16).decode().split()
