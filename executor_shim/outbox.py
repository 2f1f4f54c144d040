"""Bytes that wait for a pipe to take them: the shim never blocks on a process that does not read."""

from __future__ import annotations

import os
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sojourn.executor_shim.events import Events


class Outbox:
    """Known to `events` by its name while something is left to be written."""

    def __init__(self, events: Events, fd: int, name: str):
        self._events = events
        self._fd = fd
        self._name = name
        self._waiting: deque[memoryview] = deque()

    def send(self, data: bytes) -> None:
        """Writes what the pipe takes now, the rest when it does. A pipe whose reader is gone takes nothing."""
        idle = not self._waiting
        if not data:
            return
        self._waiting.append(memoryview(data))
        if idle and self.flush():
            self._events.add(self._fd, self._name, write=True)

    @property
    def rest(self) -> bytes:
        """What is left to be written."""
        return b"".join(self._waiting)

    def flush(self) -> bool:
        """Writes what is left; whether something still is."""
        try:
            while self._waiting:
                left = self._waiting[0][os.write(self._fd, self._waiting[0]) :]
                if left:
                    self._waiting[0] = left
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            return True
        except OSError:
            self._waiting.clear()
        self._events.drop(self._fd)
        return False
