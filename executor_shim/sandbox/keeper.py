"""The process that makes sandboxes for a shim: forked before the shim knows a secret or has a thread.

So what holds a sandbox, and a user's process before it becomes its program, have no credential in their memory, and a
fork never copies a lock that a thread holds. It ends with the shim.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from _thread import allocate_lock

from sojourn.executor_shim.sandbox.options import Options, Plan, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_MOST = 1 << 17
_PATIENCE = 20.0


class SandboxFailed(OSError):
    """A sandbox could not be made; the text says why, `kind` which class of error it was."""

    kind = ""


class Keeper:
    """The shim's end. `start` before anything else; a privileged process only."""

    def __init__(self, pid: int, channel: socket.socket):
        self._pid = pid
        self._channel = channel
        #: One request at a time: an image of a start is made by a thread of its own.
        self._asking = allocate_lock()
        #: What was asked for ahead, and is being made.
        self._ahead: bytes | None = None

    @classmethod
    def start(cls, leave: int | None = None) -> Keeper:
        """Forks the keeper, without the descriptor `leave`: the shim's settings come through it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (ours, theirs):  # a request lists all that is to be seen inside
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        pid = os.fork()
        if pid == 0:
            ours.close()
            if leave is not None:
                os.close(leave)
            _keep(theirs)
        theirs.close()
        ours.settimeout(_PATIENCE)
        return cls(pid, ours)

    def spawn(
        self, plan: Plan, program: list[str], pipes: dict[int, int], last_pid: int | None = None
    ) -> tuple[dict[str, Any], int, int]:
        """Starts a program in a sandbox of its own: what was made, init's pidfd, the socket to init. `SandboxFailed`.

        `pipes` are the program's descriptors by their number there, from 1 without a gap. No program: a sandbox for a
        process that is to be thawed, where numbers of processes are counted from `last_pid`.
        """
        numbers = sorted(pipes)
        request = _request(plan, program, numbers, last_pid)
        if len(request) > _MOST // 2:
            raise SandboxFailed(0, f"what is to be made takes {len(request)} bytes to say")
        try:
            with self._asking:
                if self._ahead != request:
                    self._drop()
                    socket.send_fds(self._channel, [request], [pipes[number] for number in numbers])
                self._ahead = None
                data, descriptors, _, _ = socket.recv_fds(self._channel, _MOST, 2)
        except OSError as error:
            raise SandboxFailed(_number(error), f"the keeper of sandboxes: {error}") from error
        gone = {"error": "the keeper of sandboxes is gone", "errno": errno.EAGAIN}
        answer: dict[str, Any] = json.loads(data) if data else gone
        if "error" in answer or len(descriptors) != 2:
            failed = SandboxFailed(answer.get("errno", 0), answer.get("error", "no sandbox came"))
            failed.kind = answer.get("kind", "")
            raise failed
        return answer, descriptors[0], descriptors[1]

    def ahead(self, plan: Plan, last_pid: int) -> None:
        """Begins a sandbox for a process that is to be thawed: the next `spawn` has it, if that is what it wants."""
        request = _request(plan, [], [], last_pid)
        with self._asking:
            if self._ahead == request or len(request) > _MOST // 2:
                return
            self._drop()
            try:
                self._channel.send(request)
                self._ahead = request
            except OSError:
                return  # whoever needs it is told why it cannot be made

    def forget(self) -> None:
        """Ends a sandbox that was begun ahead and is not wanted."""
        with self._asking:
            self._drop()

    def _drop(self) -> None:
        if self._ahead is None:
            return
        self._ahead = None
        try:
            _, descriptors, _, _ = socket.recv_fds(self._channel, _MOST, 2)
        except OSError:
            return
        for fd in descriptors[:1]:
            try:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for fd in descriptors:
            os.close(fd)

    def close(self) -> None:
        """Ends the keeper, and with it every sandbox; returns when it has ended."""
        self._channel.close()
        try:
            os.kill(self._pid, signal.SIGKILL)  # it may still be busy with its imports
            os.waitpid(self._pid, 0)
        except (ChildProcessError, ProcessLookupError):
            return


def _number(error: OSError) -> int:
    """A keeper that does not answer in time is on a busy node; one that is gone was killed, it does not end by itself."""
    if isinstance(error, TimeoutError):
        return errno.ETIMEDOUT
    return errno.EAGAIN if error.errno == errno.EPIPE else error.errno or 0


def _keep(channel: socket.socket) -> NoReturn:
    try:
        from sojourn.executor_shim.sandbox import namespaces

        namespaces.die_with_parent()
        namespaces.adopt_orphans()
        for number in (signal.SIGINT, signal.SIGTERM):  # a terminal's, or for the shim's group: it is ended by its shim
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for holders
        while True:
            data, descriptors, _, _ = socket.recv_fds(channel, _MOST, 16)
            if not data:
                os._exit(0)
            if os.fork() == 0:
                told = json.loads(data)
                pipes = dict(zip(told["numbers"], descriptors, strict=True))
                request = namespaces.Request(_from_json(told["plan"]), told["program"], pipes)
                if told["last_pid"] is not None:
                    request = request._replace(last_pid=told["last_pid"])
                namespaces.hold(request, channel)
                os._exit(0)
            for fd in descriptors:
                os.close(fd)
    finally:
        os._exit(1)


def _request(plan: Plan, program: list[str], numbers: list[int], last_pid: int | None) -> bytes:
    return json.dumps({"plan": _as_json(plan), "program": program, "numbers": numbers, "last_pid": last_pid}).encode()


def _as_json(plan: Plan) -> dict[str, Any]:
    return {
        "options": plan.options._asdict(),
        "executor": plan.executor,
        "code": plan.code,
        "environment": dict(plan.environment),
        "api": [plan.api.host, plan.api.port],
    }


def _from_json(told: dict[str, Any]) -> Plan:
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in told["options"].items()
    }
    return Plan(Options(**chosen), told["executor"], tuple(told["code"]), Target(*told["api"]), told["environment"])
