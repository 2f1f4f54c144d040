"""The shim's hold on the user's process: started with nothing of the shim's own, ended with its whole tree."""

from __future__ import annotations

import fcntl
import os
import sys

from sojourn.executor_shim import frames
from sojourn.executor_shim.memory import KernelKills

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from sojourn.executor_shim.events import Events

    class Process(Protocol):
        """What holds a user's process: `plain`, or in a sandbox."""

        pid: int
        exit_fd: int

        @property
        def exit_code(self) -> int | None: ...
        def members(self) -> list[int]: ...
        def leaves_others(self) -> bool: ...
        def limit_memory(self, limit: int | None) -> None: ...
        def out_of_memory_kills(self) -> str | None: ...
        def signal(self, number: signal.Signals) -> None: ...
        def kill(self) -> bool: ...
        def close(self) -> None: ...

    #: Starts a program with an environment and descriptors by their number there.
    Start = Callable[[list[str], dict[str, str], dict[int, int]], Process]

#: What a task's process gets of the machine's environment.
_PASSED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH",
    "PYTHONPATH",
)  # fmt: skip
#: Descriptors in the user's process: run frames in, cancel frames in, frames out.
CONTROL, CANCEL, RESULT = 3, 4, 5
#: The shim's ends lie above the numbers that the user's process gets.
_ABOVE = 10
_READ = 1 << 16
_NUMBERS = {"stdout": 1, "stderr": 2, "control": CONTROL, "cancel": CANCEL, "result": RESULT}


class Child:
    """One user process. What it writes is read without blocking; frames to it are queued rather than waited for.

    Known to `events` as result, stdout, stderr, exit, and control while a frame is being taken.
    """

    def __init__(self, events: Events, executor: str, start: Start):
        self._events = events
        self._pipes: dict[str, int] = {}
        self._outgoing = b""
        self._decoder = frames.Decoder()
        #: The variables that its code was imported with; None before that.
        self.variables: dict[str, str] | None = None
        self._is_preparing = False
        self.runs = 0
        theirs = {name: self._pipe(name) for name in ("control", "cancel", "result", "stdout", "stderr")}
        try:
            pipes = {_NUMBERS[name]: fd for name, fd in theirs.items()}
            self.process = start(_program(), _environment(executor), pipes)
        except OSError:
            self._close()
            raise
        finally:
            for fd in theirs.values():
                os.close(fd)
        self.kernel_kills = KernelKills(self.process.out_of_memory_kills())
        events.add(self.process.exit_fd, "exit")
        for name in ("result", "stdout", "stderr"):
            events.add(self._pipes[name], name)

    # --- talking

    def send(self, message: dict[str, Any]) -> None:
        """Sends a frame; what the process does not take now is sent as it takes it. One that is gone takes nothing."""
        idle = not self._outgoing
        self._outgoing += frames.encode(message)
        if idle and self.flush():
            self._events.add(self._pipes["control"], "control", write=True)

    def flush(self) -> bool:
        """Sends what is left to be sent; whether something still is."""
        try:
            sent = os.write(self._pipes["control"], self._outgoing)
            self._outgoing = self._outgoing[sent:]
        except BlockingIOError:
            return True
        except OSError:
            self._outgoing = b""
        if not self._outgoing:
            self._events.drop(self._pipes["control"])
        return bool(self._outgoing)

    def prepare(self, directory: str, variables: dict[str, str], file: str) -> None:
        """Has it import what the next run will probably need."""
        self.variables, self._is_preparing = variables, True
        self.send({"type": "prepare", "directory": directory, "variables": variables, "file": file})

    @property
    def began_nothing(self) -> bool:
        """Whether it has not come as far as to take a run: an end then is not the end of a run."""
        return self._is_preparing

    def tell(self, message: dict[str, Any]) -> None:
        """Sends a frame to the thread that listens beside the user's code. Such frames are small and few."""
        try:
            os.write(self._pipes["cancel"], frames.encode(message))
        except OSError:
            return

    def read(self, name: str) -> bytes | None:
        """What a pipe has; empty at its end, None when it has nothing now."""
        try:
            data = os.read(self._pipes[name], _READ)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self._events.drop(self._pipes[name])
        return data

    def messages(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The frames that are complete with `data` and speak of a run; `FrameError` for nonsense."""
        for message in self._decoder.feed(data):
            if message.get("type") == "prepared":
                self._is_preparing = False
            else:
                yield message

    def ignore(self, name: str) -> None:
        """Takes an event between two runs: what is written then belongs to no run."""
        if name == "exit":
            self.notice_exit()
        elif name == "control":
            self.flush()
        elif name in self._pipes and (data := self.read(name)) and name == "result":
            try:
                for _ in self.messages(data):
                    continue
            except frames.FrameError:
                self.kill()

    # --- its end

    def notice_exit(self) -> None:
        """Takes the event `exit`."""
        self._events.drop(self.process.exit_fd)
        _ = self.exit_code

    @property
    def exit_code(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it lives."""
        return self.process.exit_code

    def leaves_others(self) -> bool:
        """Whether it has processes of its own: a run that is over should have none."""
        return self.process.leaves_others()

    def signal(self, number: signal.Signals) -> None:
        """Signals the process and those of its group."""
        self.process.signal(number)

    def hang_up(self) -> None:
        """Asks an idle process to exit."""
        self._events.drop(self._pipes["control"])
        os.close(self._pipes.pop("control"))
        self._outgoing = b""

    def kill(self) -> bool:
        """Kills it and everything that it has started; true when none is left."""
        return self.process.kill()

    def end(self) -> bool:
        """Kills what is left, and closes the pipes."""
        gone = self.kill()
        self._events.drop(self.process.exit_fd)
        self.process.close()
        self._close()
        return gone

    # --- inside

    def _pipe(self, name: str) -> int:
        """Makes a pipe, keeps the shim's end; the other."""
        reading, writing = (_above(fd) for fd in os.pipe2(os.O_CLOEXEC))
        ours, theirs = (writing, reading) if name in ("control", "cancel") else (reading, writing)
        os.set_blocking(ours, False)
        self._pipes[name] = ours
        return theirs

    def _close(self) -> None:
        for fd in self._pipes.values():
            self._events.drop(fd)
            os.close(fd)
        self._pipes = {}


def _program() -> list[str]:
    """The runner; the number of its parent comes behind it. `-P`: a file of the project never stands in for Python's."""
    return [sys.executable, "-P", "-m", "sojourn.executor_shim.runner"]


def _environment(executor: str) -> dict[str, str]:
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return environment | {
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOJOURN_EXECUTOR": executor,
    }


def _above(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    finally:
        os.close(fd)
