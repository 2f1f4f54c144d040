"""The shim's hold on the user's process: started with nothing of the shim's own, ended with its whole tree."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

from sojourn.executor_shim import frames
from sojourn.executor_shim.process_tree import children, descendants, is_zombie

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from sojourn.executor_shim.events import Events

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
_KILL_TIME = 2.0


class Child:
    """One user process. What it writes is read without blocking; frames to it are queued rather than waited for.

    Known to `events` as result, stdout, stderr, exit, and control while a frame is being taken.
    """

    def __init__(self, events: Events, executor: str):
        self._events = events
        self._pipes: dict[str, int] = {}
        self._outgoing = b""
        self._exit_code: int | None = None
        self._decoder = frames.Decoder()
        #: The variables that its code was imported with; None before that.
        self.variables: dict[str, str] | None = None
        self._is_preparing = False
        self.runs = 0
        theirs = {name: self._pipe(name) for name in ("control", "cancel", "result", "stdout", "stderr")}
        try:
            self.pid = _spawn(theirs, _environment(executor))
        except OSError:
            self._close()
            raise
        finally:
            for fd in theirs.values():
                os.close(fd)
        self._pipes["exit"] = os.pidfd_open(self.pid)
        for name in ("result", "stdout", "stderr", "exit"):
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
        self._events.drop(self._pipes["exit"])
        self._look()

    @property
    def exit_code(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it lives."""
        if self._exit_code is None:
            self._look()
        return self._exit_code

    def leaves_others(self) -> bool:
        """Whether it has processes of its own: a run that is over should have none."""
        return bool(children(self.pid)) or children(os.getpid()) != [self.pid]

    def signal(self, number: signal.Signals) -> None:
        """Signals the process and those of its group."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def hang_up(self) -> None:
        """Asks an idle process to exit."""
        self._events.drop(self._pipes["control"])
        os.close(self._pipes.pop("control"))
        self._outgoing = b""

    def kill(self) -> bool:
        """SIGKILL to the group and to whatever left it; true when none is left, false after 2 s."""
        self.signal(signal.SIGKILL)
        deadline = time.monotonic() + _KILL_TIME
        while time.monotonic() < deadline:
            self._reap()
            left = [pid for pid in descendants(os.getpid()) if not is_zombie(pid)]
            if not left and not descendants(os.getpid()):  # a list that is read while processes end may lack some
                return True
            for pid in left:
                _kill(pid)
            time.sleep(0.001)
        return False

    def end(self) -> bool:
        """Kills what is left, and closes the pipes."""
        gone = self.kill()
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

    def _look(self) -> None:
        """Its exit code without collecting it, so that its number stays its own until its tree is gone."""
        try:
            state = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if state is not None:
            self._exit_code = state.si_status if state.si_code == os.CLD_EXITED else -state.si_status

    def _reap(self) -> None:
        """Collects processes that ended, adopted ones too."""
        if self._exit_code is None:
            self._look()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return

    def _close(self) -> None:
        for fd in self._pipes.values():
            self._events.drop(fd)
            os.close(fd)
        self._pipes = {}


def adopt_orphans() -> None:
    """Whatever the user's process leaves behind becomes the shim's child, so that it can be ended too.

    Nor may others of the same user look into the shim's memory.
    """
    import ctypes

    set_dumpable, set_child_subreaper = 4, 36
    libc = ctypes.CDLL(None)
    libc.prctl(set_child_subreaper, 1, 0, 0, 0)
    libc.prctl(set_dumpable, 0, 0, 0, 0)


def _spawn(theirs: dict[str, int], environment: dict[str, str]) -> int:
    """Starts the runner in a session of its own. `-P`: a file of the project never stands in for one of Python's."""
    numbers = {"stdout": 1, "stderr": 2, "control": CONTROL, "cancel": CANCEL, "result": RESULT}
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "sojourn.executor_shim.runner", str(os.getpid())],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            *((os.POSIX_SPAWN_DUP2, fd, numbers[name]) for name, fd in theirs.items()),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )


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


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
