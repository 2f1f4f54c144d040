"""A user's process in a sandbox, as the shim holds it: by init's pidfd and a socket to init, never by a bare number."""

from __future__ import annotations

import os
import select
import signal
import struct

from sojourn.executor_shim.process_tree import children, descendants
from sojourn.executor_shim.sandbox.cgroup import Group, kill_counter, limit_memory
from sojourn.executor_shim.sandbox.layout import USER_PID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sojourn.executor_shim.sandbox.keeper import Keeper
    from sojourn.executor_shim.sandbox.options import Plan

_KILL_TIME = 2_000
_STATUS = struct.Struct("=i")


class SandboxedProcess:
    """`exit_fd` is readable when the process has ended, though others inside may live on."""

    def __init__(self, keeper: Keeper, plan: Plan, program: list[str], pipes: dict[int, int]):
        self._take(*keeper.spawn(plan, program, pipes), pipes)
        #: Where the node keeps what holds for all of its sandboxes.
        self.run_dir = plan.options.run_dir

    @classmethod
    def thawed(
        cls,
        keeper: Keeper,
        plan: Plan,
        pipes: dict[int, int],
        image: str,
        criu: str,
        seconds: float = 30.0,
        verified: Callable[[], None] | None = None,
    ) -> SandboxedProcess:
        """A process out of an image, in a fresh sandbox, with `pipes` in place of its old ones: stopped until `go_on`.

        `image` is the directory of what `freeze` wrote, verified; its files become those of the new sandbox's user.
        `verified` is called when there is a sandbox, before criu sees it, and raises if it is not what was written.
        `ThawFailed` (`CheckpointInvalid` for what is no image), `SandboxFailed`: nothing is left of it then.
        """
        from sojourn.executor_shim.freezing import identity
        from sojourn.executor_shim.sandbox import thawing

        told, last_pid = thawing.read(image)
        process = cls.__new__(cls)
        process._take(*keeper.spawn(plan, [], {}, last_pid), pipes)
        process.run_dir = plan.options.run_dir
        process.stopped = identity.stopped(image)
        try:
            if verified is not None:
                verified()
            thawing.restore(process, told, pipes, image, criu, seconds)
            process.pid = process._find()
            thawing.verify(process)
        except BaseException:
            process.kill()
            process.close()
            raise
        return process

    def _take(self, told: dict[str, Any], init_pidfd: int, exit_fd: int, pipes: dict[int, int]) -> None:
        self._init_pidfd, self.exit_fd = init_pidfd, exit_fd
        os.set_blocking(self.exit_fd, False)
        #: The process by its number on the node.
        self.pid: int = told["pid"]
        #: Its user and group.
        self.uid: int = told["uid"]
        self._init: int = told["init"]
        self._group = Group(told["cgroup"], told["missing"])
        self._exit_code: int | None = None
        self._limit: int | None = None
        #: Limits that no group holds, and why.
        self.missing: dict[str, str] = told["missing"]
        #: Its address on the node's network, if it has one there.
        self.address: str | None = told["address"]
        #: While it is frozen: processes that user code had stopped, and names that criu gave to removed files.
        self.stopped: list[int] = []
        self.kept_names: list[str] = []
        #: Its pipes by their number there, as criu names them.
        self.pipes = {number: f"pipe:[{os.fstat(fd).st_ino}]" for number, fd in pipes.items()}

    # --- frozen and thawed

    def freeze(self, directory: int, criu: str, seconds: float = 60.0) -> dict[str, int]:
        """Writes it into `directory` (a descriptor), and leaves everything inside stopped; its private directories.

        Those are descriptors by their name in the image, of which they are a part; whoever packs it closes them. Limits
        are in seconds. `FreezeFailed`: it goes on. A stopped one does so by `thaw_in_place`.
        """
        from sojourn.executor_shim.sandbox import dumping

        return dumping.freeze(self, directory, criu, seconds)

    def thaw_in_place(self) -> None:
        """Lets everything inside go on after `freeze`, but what user code itself had stopped."""
        from sojourn.executor_shim.sandbox import dumping

        dumping.tidy(self)
        self.go_on()

    def go_on(self) -> None:
        """Lets it go on after it was thawed, but what user code itself had stopped."""
        self.ask({"do": "continue", "but": self.stopped}, [])
        self.stopped, self.kept_names = [], []

    def strays(self) -> list[int]:
        """Processes inside that are not below the user's process: those that it left to init."""
        return [each for each in children(self._init) if each != self.pid]

    def ask(self, asked: dict[str, Any], descriptors: list[int]) -> None:
        """Sends init a message; one that is gone takes none."""
        import json
        import socket

        channel = socket.socket(fileno=os.dup(self.exit_fd))
        try:
            socket.send_fds(channel, [json.dumps(asked).encode()], descriptors)
        except OSError:
            return
        finally:
            channel.close()

    def _find(self) -> int:
        """The process's number on the node, once it is there."""
        from sojourn.executor_shim.freezing.errors import ThawFailed

        for each in children(self._init):
            try:
                with open(f"/proc/{each}/status", encoding="utf-8", errors="replace") as file:
                    inside = next((line.split()[-1] for line in file if line.startswith("NSpid:")), "")
            except OSError:
                continue
            if inside == str(USER_PID):
                return each
        raise ThawFailed("criu restored no process")

    @property
    def exit_code(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it lives."""
        if self._exit_code is None:
            try:
                told = os.read(self.exit_fd, _STATUS.size)
            except BlockingIOError:
                return None
            except OSError:
                told = b""
            # An init that says nothing was killed, and everything inside with it.
            self._exit_code = _STATUS.unpack(told)[0] if len(told) == _STATUS.size else -int(signal.SIGKILL)
        return self._exit_code

    def members(self) -> list[int]:
        """Every process inside but init."""
        return descendants(self._init)

    def leaves_others(self) -> bool:
        """Whether it has processes of its own."""
        return bool(children(self.pid)) or children(self._init) != [self.pid]

    def limit_memory(self, limit: int | None) -> None:
        """Limits the memory of all that is inside, in bytes, where there is a group for it."""
        if limit != self._limit:
            self._limit = limit
            limit_memory(self._group, limit)

    def out_of_memory_kills(self) -> str | None:
        """The file that counts the kernel's kills in its group; None: it has none."""
        return kill_counter(self._group)

    def signal(self, number: signal.Signals) -> None:
        """Has init signal the process and those of its group."""
        try:
            os.write(self.exit_fd, bytes([number]))
        except OSError:
            return

    def kill(self) -> bool:
        """Ends init, and the kernel with it everything inside; true when nothing is left, false after 2 s."""
        _ = self.exit_code  # how it had ended by itself, if it has
        try:
            signal.pidfd_send_signal(self._init_pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        poll = select.poll()
        poll.register(self._init_pidfd, select.POLLIN)
        gone = bool(poll.poll(_KILL_TIME))
        _ = self.exit_code
        return gone

    def close(self) -> None:
        """Lets go of it. Its holder removes its groups while the slot is its own: later they may be another's."""
        os.close(self._init_pidfd)
        os.close(self.exit_fd)
