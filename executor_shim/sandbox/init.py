"""Process 1 of a sandbox: it collects what ends, tells how the user's process ended, and does what the shim asks for.

The shim's messages, over the socket by which the user's end is told:

    one byte                          a signal for the user's process and those of its group
    {"do": "continue", "but"}         SIGCONT to everything inside but the processes of those numbers
    {"do": "show"}                    with a socket, over which come {"trees", "ipc"}: the names of the sandbox's private
                                      directories, which come as descriptors, and what there is of System V's objects
    {"do": "dump" | "restore", "arguments", "seconds", "memo"}
                                      with a socket, criu's program, the directory of its images, and descriptors that
                                      criu has as `numbers`: criu is run, for at most so long, and the answer, over the
                                      socket, is {"status", "late", "memo"}; negative: the signal that ended it. The memo is
                                      what criu knows of the kernel (see `freezing.memo`), in base64

criu is run by this process because it is in all of the sandbox's namespaces: so criu sees a tree of processes and no
namespace that it would have to keep. What it is and where its images lie has no name inside.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import math
import os
import select
import signal
import socket
import struct
import time

from sojourn.executor_shim.sandbox import privileges
from sojourn.executor_shim.sandbox.layout import TREES, USER_PID
from sojourn.executor_shim.sandbox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_STATUS = struct.Struct("=i")
_MOST = 1 << 16
_DESCRIPTORS = 64
#: Descriptors that criu gets lie above those that it uses itself at its start.
_HIGH = 100
_CAP_SYS_RESOURCE = 24
#: Where criu looks for what it knows, and puts it; user code cannot look there.
_MEMO = "/run/criu.kdat"


class Inside(Record):
    """`user` is 0 where the process is still to be thawed; `entries` are then what it enters its groups by."""

    user: int
    uid: int
    entries: tuple[int, ...]


class _Errand:
    """A criu that runs."""

    def __init__(self, pid: int, reply: socket.socket, seconds: float):
        self.pid = pid
        self.reply = reply
        self.deadline = time.monotonic() + seconds
        self.is_late = False


def serve(shim: socket.socket, inside: Inside) -> None:
    """Until the shim is gone or kills this process."""
    _Init(shim, inside).serve()


class _Init:
    """The user's end is told before its number is free, and only a process that was not collected is signalled: so no
    signal ever meets another that got the same number."""

    def __init__(self, shim: socket.socket, inside: Inside):
        self._shim = shim
        self._inside = inside
        self._user = inside.user or USER_PID
        self._lives = bool(inside.user)
        self._errand: _Errand | None = None

    def serve(self) -> None:
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._shim, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            self._collect()
            for fd, _ in poll.poll(self._patience()):
                if fd == woken:
                    os.read(woken, 4096)
                elif not self._listen():
                    return

    def _patience(self) -> int | None:
        """Milliseconds until criu has had its time; one that has is killed, stopped or not."""
        errand = self._errand
        if errand is None:
            return None
        left = errand.deadline - time.monotonic()
        if left <= 0 and not errand.is_late:
            errand.is_late = True
            os.kill(errand.pid, signal.SIGKILL)
        return None if errand.is_late else math.ceil(left * 1000)

    # --- what ends

    def _collect(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            if ended.si_pid == self._user:
                self._lives = False
                try:
                    self._shim.send(_STATUS.pack(code))
                except OSError:
                    return
            if self._errand is not None and ended.si_pid == self._errand.pid:
                self._finish(self._errand, code)
            else:
                os.waitpid(ended.si_pid, 0)

    def _finish(self, errand: _Errand, code: int) -> None:
        """Criu has ended. One that did so otherwise than it should may have left helpers, which are of its group."""
        self._errand = None
        if code != 0:
            with contextlib.suppress(ProcessLookupError):  # it was killed before it had a group
                os.killpg(errand.pid, signal.SIGKILL)
        os.waitpid(errand.pid, 0)
        with contextlib.suppress(ChildProcessError):
            while code != 0:
                os.waitpid(-errand.pid, 0)
        if not self._inside.user:  # what criu has restored is this process's child from now on
            self._lives = code == 0
        _answer(errand.reply, {"status": code, "late": errand.is_late, "memo": _memo()})

    # --- what is asked for

    def _listen(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._shim, _MOST, _DESCRIPTORS)
        if len(data) == 1:
            if self._lives:
                os.killpg(self._user, data[0])
            return True
        if not data:
            return False
        asked = json.loads(data)
        try:
            self._do(asked, descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)
        return True

    def _do(self, asked: dict[str, Any], descriptors: list[int]) -> None:
        if asked["do"] == "continue":
            _continue(frozenset(asked["but"]))
        elif asked["do"] == "show":
            _show(socket.socket(fileno=os.dup(descriptors[0])))
        else:
            reply = socket.socket(fileno=os.dup(descriptors[0]))
            _put_memo(asked["memo"])
            pid = os.fork()
            if pid == 0:
                _become_criu(asked, descriptors[1:], self._inside)
            for entry in self._inside.entries:
                os.close(entry)
            self._inside = self._inside._replace(entries=())
            self._errand = _Errand(pid, reply, asked["seconds"])


def _continue(but: frozenset[int]) -> None:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in but and int(name) != os.getpid():
            try:
                os.kill(int(name), signal.SIGCONT)
            except ProcessLookupError:
                continue


def _show(reply: socket.socket) -> None:
    trees = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in TREES.values()]
    try:
        socket.send_fds(reply, [json.dumps({"trees": list(TREES), "ipc": _ipc()}).encode()], trees)
    except OSError:
        return
    finally:
        reply.close()
        for fd in trees:
            os.close(fd)


def _ipc() -> list[str]:
    """Which kinds of System V's objects there are: they belong to the sandbox, not to a process, and criu leaves them."""
    found = []
    for kind in ("shm", "sem", "msg"):
        try:
            with open(f"/proc/sysvipc/{kind}", encoding="ascii") as file:
                if len(file.readlines()) > 1:  # beside the heading
                    found.append(kind)
        except FileNotFoundError:
            continue
    return found


def _put_memo(coded: str) -> None:
    if coded:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with contextlib.suppress(OSError), os.fdopen(os.open(_MEMO, flags, 0o600), "wb") as file:
            file.write(base64.b64decode(coded))


def _memo() -> str:
    try:
        with open(_MEMO, "rb") as file:
            return base64.b64encode(file.read(_MOST // 2)).decode()
    except OSError:
        return ""


def _answer(reply: socket.socket, answer: dict[str, Any]) -> None:
    try:
        reply.send(json.dumps(answer).encode())
    except OSError:
        return
    finally:
        reply.close()


def _become_criu(asked: dict[str, Any], descriptors: list[int], inside: Inside) -> NoReturn:
    try:
        os.setgroups([])  # criu gives a process that has none those that it has itself
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):  # criu ends its helpers by SIGTERM
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        for entry in inside.entries:
            os.write(entry, b"0")
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH + number) for number, fd in enumerate(descriptors)]
        names = {f"{{{number}}}": str(fd) for number, fd in enumerate(high)}
        arguments = [_named(each, names) for each in asked["arguments"]]
        if asked["do"] == "dump" and not privileges.may(_CAP_SYS_RESOURCE):
            # Then root reads another's limits only with that one's real uid and gid. A criu with libnftables, as Debian's
            # is, refuses to run so.
            os.setgroups([])
            os.setresgid(inside.uid, 0, 0)
            os.setresuid(inside.uid, 0, 0)
        nothing = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        program = f"/proc/self/fd/{high[0]}"
        os.execve(program, ["criu", *arguments], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})  # noqa: S606
    finally:
        os._exit(127)


def _named(argument: str, names: dict[str, str]) -> str:
    """An argument with `{n}` as the number of the n-th descriptor."""
    for name, number in names.items():
        argument = argument.replace(name, number)
    return argument
