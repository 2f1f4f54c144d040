"""What a dead executor left running: found by its mark, its sessions and what was seen of it, and ended."""

from __future__ import annotations

import signal
import time

from sojourn.executor_shim.process_tree import descendants
from sojourn.scheduler.placement.process import is_alive, is_apart, kill, marked, processes, session, start_time

#: Every process of a user's code has it in its environment, unless that code has taken it away.
MARK = "SOJOURN_EXECUTOR"
_PATIENCE, _PAUSE = 2.0, 0.005


class Remains:
    """The processes below one executor. `look` is called now and then while it lives."""

    def __init__(self, executor: str):
        self._mark = f"{MARK}={executor}"
        self._seen: dict[int, int] = {}
        self._sessions: set[int] = set()

    def look(self, shim: int) -> None:
        """Remembers what is below the shim now."""
        seen = self._seen | {pid: started for pid in descendants(shim) if (started := start_time(pid)) is not None}
        seen = {pid: started for pid, started in seen.items() if is_alive(pid, started)}
        # Numbers of sessions are used again: only those that have a member now are followed.
        self._sessions = {of for pid in seen if (of := session(pid)) is not None}
        self._seen = seen

    def end(self) -> bool:
        """Kills what the dead shim has left, until nothing is; false if something will not die."""
        deadline = time.monotonic() + _PATIENCE
        while left := self._left():
            if time.monotonic() > deadline:
                return False
            for pid in left:
                kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE)
        return True

    def _left(self) -> set[int]:
        found = {pid for pid, started in self._seen.items() if is_alive(pid, started)}
        # What is in a sandbox ends with it. One that was frozen has the mark of the executor that began it, and goes on
        # below another.
        found |= {pid for pid in marked(self._mark) if is_alive(pid, None) and not is_apart(pid)}
        found |= {pid for pid in processes() if session(pid) in self._sessions and is_alive(pid, None)}
        return found
