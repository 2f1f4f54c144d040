"""A user's process in a sandbox, as the shim holds it: by init's pidfd and a socket to init, never by a bare number."""

from __future__ import annotations

import os
import select
import signal
import struct

from sojourn.executor_shim.process_tree import children, descendants
from sojourn.executor_shim.sandbox.cgroup import Group, kill_counter, limit_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.sandbox.keeper import Keeper
    from sojourn.executor_shim.sandbox.options import Plan

_KILL_TIME = 2_000
_STATUS = struct.Struct("=i")


class SandboxedProcess:
    """`exit_fd` is readable when the process has ended, though others inside may live on."""

    def __init__(self, keeper: Keeper, plan: Plan, program: list[str], pipes: dict[int, int]):
        told: dict[str, Any]
        told, self._init_pidfd, self.exit_fd = keeper.spawn(plan, program, pipes)
        os.set_blocking(self.exit_fd, False)
        #: The process by its number on the node.
        self.pid: int = told["pid"]
        self._init: int = told["init"]
        self._group = Group(told["cgroup"], told["missing"])
        self._exit_code: int | None = None
        self._limit: int | None = None
        #: Limits that no group holds, and why.
        self.missing: dict[str, str] = told["missing"]

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
