"""The shim's hold on the user's process: started with nothing of the shim's own, ended with its whole tree."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time

from sojourn.executor_shim import frames
from sojourn.executor_shim.memory import KernelKills
from sojourn.executor_shim.outbox import Outbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from sojourn.executor_shim.events import Events
    from sojourn.executor_shim.freezing.frozen import FrozenChild

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

    class Freezable(Process, Protocol):
        """What can be frozen, and is stopped then until it goes on: see `SandboxedProcess`."""

        def freeze(self, directory: int, criu: str, seconds: float = ...) -> dict[str, int]: ...
        def go_on(self) -> None: ...
        def thaw_in_place(self) -> None: ...

    #: Starts a program with an environment and descriptors by their number there.
    Start = Callable[[list[str], dict[str, str], dict[int, int]], Process]
    #: Makes the process of an image's directory, with an environment and descriptors in place of its old ones.
    Thaw = Callable[[dict[str, str], dict[int, int], str], Process]

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
#: Seconds that criu usually has for a dump.
_DUMP_TIME = 60.0
_READ_FROM = ("result", "stdout", "stderr")
_NUMBERS = {"stdout": 1, "stderr": 2, "control": CONTROL, "cancel": CANCEL, "result": RESULT}


class Child:
    """One user process. What it writes is read without blocking; frames to it are queued rather than waited for.

    Known to `events` as result, stdout, stderr, exit, and control and cancel while a frame is being taken there.
    """

    def __init__(self, events: Events, executor: str, start: Start):
        self._settle(events)
        self._begin(lambda pipes: start(_program(), environment_for(executor), pipes))

    @classmethod
    def thawed(cls, events: Events, executor: str, thaw: Thaw, image: str) -> Child:
        """The child of a process that was frozen, perhaps elsewhere, out of its image's directory; stopped until `go_on`.

        Bytes that were under way between it and its old shim are under way again. `ThawFailed`, or `OSError`.
        """
        from sojourn.executor_shim.freezing import state

        under_way, notes = state.child_of(image)
        child = cls.__new__(cls)
        child._settle(events)
        child.variables, child.runs, child._is_preparing = notes["variables"], notes["runs"], notes["preparing"]
        child.kept, child.unread = notes["kept"], notes["unread"]
        child._begin(lambda pipes: thaw(environment_for(executor), pipes, image))
        for _ in child._decoder.feed(under_way.get("result", b"")):  # the beginning of a frame, never a whole one
            continue
        for name in ("cancel", "control"):
            child._outboxes[name].send(under_way.get(name, b""))
        return child

    def _settle(self, events: Events) -> None:
        self._events = events
        self._pipes: dict[str, int] = {}
        self._decoder = frames.Decoder()
        #: The variables that its code was imported with; None before that.
        self.variables: dict[str, str] | None = None
        #: What whoever watches over it wants to know again, should it be frozen and thawed.
        self.kept: dict[str, Any] = {}
        #: Lines, at most, that it had written and nobody had read when it was frozen.
        self.unread = 0
        self._is_preparing = False
        #: Whether what it was to import first could not be imported. Known once it is prepared.
        self.import_failed = False
        #: What it says that its import looked up, once it is prepared: see `starts.suiting.names_of`.
        self.looked: Any = None
        self.runs = 0

    def _begin(self, make: Callable[[dict[int, int]], Process]) -> None:
        theirs = {name: self._pipe(name) for name in _NUMBERS}
        try:
            self.process = make({_NUMBERS[name]: fd for name, fd in theirs.items()})
        except BaseException:
            self._close()
            raise
        finally:
            for fd in theirs.values():
                os.close(fd)
        self.kernel_kills = KernelKills(self.process.out_of_memory_kills())
        self._events.add(self.process.exit_fd, "exit")
        for name in _READ_FROM:
            self._events.add(self._pipes[name], name)
        self._outboxes = {name: Outbox(self._events, self._pipes[name], name) for name in ("control", "cancel")}

    # --- frozen

    def freeze(self, directory: int, criu: str, seconds: float | None = None) -> FrozenChild:
        """Freezes it into a directory (a descriptor); it is stopped then, until it is killed or goes on.

        What it had said before comes with the result. `FreezeFailed`: it goes on, `FrameError`: it has to be killed.
        """
        from sojourn.executor_shim.freezing import patience, state
        from sojourn.executor_shim.freezing.errors import FreezeFailed
        from sojourn.executor_shim.freezing.frozen import FrozenChild

        process: Freezable = self.process  # type: ignore[assignment]
        private = process.freeze(directory, criu, patience(_DUMP_TIME) if seconds is None else seconds)
        try:
            said = {name: self._drain(name) for name in _READ_FROM}
            messages = list(self.messages(said["result"]))
            under_way = {
                "result": self._decoder.rest,
                **{name: self._unread(name) + self._outboxes[name].rest for name in ("control", "cancel")},
            }
            notes = {
                "variables": self.variables, "runs": self.runs, "preparing": self._is_preparing, "kept": self.kept,
                "unread": _lines(said["stdout"]) + _lines(said["stderr"]) + len(messages),
            }  # fmt: skip
            state.keep_child(directory, under_way, notes)
        except BaseException as error:
            for fd in private.values():
                os.close(fd)
            if not isinstance(error, OSError):
                raise
            self.go_on_in_place()
            raise FreezeFailed(f"what is under way cannot be kept: {error.strerror}") from error
        return FrozenChild(directory, private, messages, said["stdout"], said["stderr"])

    def go_on_in_place(self) -> None:
        """Lets one go on that was frozen and is not to be."""
        process: Freezable = self.process  # type: ignore[assignment]
        process.thaw_in_place()

    def go_on(self) -> None:
        """Lets one that was thawed go on."""
        process: Freezable = self.process  # type: ignore[assignment]
        process.go_on()

    def _drain(self, name: str) -> bytes:
        """All that the stopped process has written."""
        data = b""
        while name in self._pipes and (more := self.read(name)):
            data += more
        return data

    def _unread(self, name: str) -> bytes:
        """What is in a pipe to the stopped process. It stays there."""
        if name not in self._pipes:
            return b""
        data = b""
        reading = os.open(f"/proc/self/fd/{self._pipes[name]}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while more := os.read(reading, _READ):
                data += more
        except BlockingIOError:
            pass
        finally:
            os.close(reading)
        os.write(self._pipes[name], data)
        return data

    # --- talking

    def send(self, message: dict[str, Any]) -> None:
        """Sends a frame; what the process does not take now is sent as it takes it. One that is gone takes nothing."""
        self._outboxes["control"].send(frames.encode(message))

    def tell(self, message: dict[str, Any]) -> None:
        """Sends a frame to the thread that listens beside the user's code, as `send` does."""
        self._outboxes["cancel"].send(frames.encode(message))

    def flush(self, name: str) -> None:
        """Takes the event that a pipe takes more, `control` or `cancel`."""
        if name in self._pipes:
            self._outboxes[name].flush()

    def prepare(self, directory: str, variables: dict[str, str], file: str) -> None:
        """Has it import what the next run will probably need."""
        self.variables, self._is_preparing = variables, True
        self.send({"type": "prepare", "directory": directory, "variables": variables, "file": file})

    def renew(self, executor: str) -> None:
        """Has one that was thawed before its first run become a process of its own."""
        self._is_preparing = True
        self.send({"type": "renew", "variables": {"SOJOURN_EXECUTOR": executor}})

    def await_prepared(self, seconds: float) -> bool:
        """Waits until it has answered; false if it has ended, or has not answered in time. What it prints is nobody's."""
        until = time.monotonic() + seconds
        names = {self._pipes[name]: name for name in _READ_FROM} | {self.process.exit_fd: "exit"}
        poll = select.poll()
        for fd in names:
            poll.register(fd, select.POLLIN)
        while self._is_preparing and self.exit_code is None and (left := until - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                self.ignore(names[fd])
        return not self._is_preparing

    @property
    def began_nothing(self) -> bool:
        """Whether it has not come as far as to take a run: an end then is not the end of a run."""
        return self._is_preparing

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
                self._is_preparing, self.import_failed = False, bool(message.get("failed"))
                self.looked = message.get("looked", self.looked)  # in the answer to `prepare`, not to `renew`
            else:
                yield message

    def ignore(self, name: str) -> None:
        """Takes an event between two runs: what is written then belongs to no run."""
        if name == "exit":
            self.notice_exit()
        elif name in ("control", "cancel"):
            self.flush(name)
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


def _lines(data: bytes) -> int:
    return data.count(b"\n") + 1


def _program() -> list[str]:
    """The runner; the number of its parent comes behind it. `-P`: a file of the project never stands in for Python's."""
    return [sys.executable, "-P", "-m", "sojourn.executor_shim.runner"]


def environment_for(executor: str) -> dict[str, str]:
    """What a user's process has before it is told a run's variables."""
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
