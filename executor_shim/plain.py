"""A user's process as a plain child of the shim: held by its group, its session and the shim as adopter of orphans."""

from __future__ import annotations

import os
import signal
import sys
import time

from sojourn.executor_shim.process_tree import children, descendants, is_zombie

_KILL_TIME = 2.0


class PlainProcess:
    """Started with `pipes` at their numbers. `exit_fd` is readable when it has ended."""

    def __init__(self, program: list[str], environment: dict[str, str], pipes: dict[int, int]):
        self._exit_code: int | None = None
        self.pid = _spawn([*program, str(os.getpid())], environment, pipes)
        self.exit_fd = os.pidfd_open(self.pid)

    @property
    def exit_code(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it lives."""
        if self._exit_code is None:
            self._look()
        return self._exit_code

    def members(self) -> list[int]:
        """Every process of its tree."""
        return [self.pid, *descendants(self.pid)]

    def leaves_others(self) -> bool:
        """Whether it has processes of its own."""
        return bool(children(self.pid)) or children(os.getpid()) != [self.pid]

    def limit_memory(self, limit: int | None) -> None:
        """Nothing but the shim's own watch limits it."""

    def out_of_memory_kills(self) -> str | None:
        """The file that counts the kernel's kills in a group of its own; None: it has none."""
        return None

    def signal(self, number: signal.Signals) -> None:
        """Signals the process and those of its group."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return

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

    def close(self) -> None:
        """Lets go of it."""
        os.close(self.exit_fd)

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


def adopt_orphans() -> None:
    """Whatever the user's process leaves behind becomes the shim's child, so that it can be ended too.

    Nor may others of the same user look into the shim's memory.
    """
    import ctypes

    set_dumpable, set_child_subreaper = 4, 36
    libc = ctypes.CDLL(None)
    libc.prctl(set_child_subreaper, 1, 0, 0, 0)
    libc.prctl(set_dumpable, 0, 0, 0, 0)


def _spawn(program: list[str], environment: dict[str, str], pipes: dict[int, int]) -> int:
    """Starts the program in a session of its own."""
    return os.posix_spawn(
        sys.executable,
        program,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            *((os.POSIX_SPAWN_DUP2, fd, number) for number, fd in pipes.items()),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
