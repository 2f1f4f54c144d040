"""Changes of metadata on their way from the user's process to the control plane: in order, kept until they are taken. Pure.

Their numbers grow over all attempts of a run, wherever those are, so that what is sent again changes nothing again.
"""

from __future__ import annotations

import json
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Changes, and characters of them, that wait at most, and that are sent at once; what comes beyond is dropped and counted.
MAX_CHANGES, MAX_CHARS = 10_000, 4 * 1024 * 1024
AT_ONCE = 1024 * 1024
_WHOSE = ("run", "parent", "root")


class Changes:
    """Those of one attempt."""

    def __init__(self, attempt: int):
        self._first = attempt << 32
        self._unsent: deque[tuple[dict[str, Any], int]] = deque()
        self._chars = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._unsent)

    def add(self, frame: dict[str, Any]) -> None:
        """A change as the user's process sent it: nothing in it is trusted."""
        n, whose, operation = frame.get("n"), frame.get("whose"), frame.get("operation")
        if type(n) is not int or not 0 < n < 1 << 32 or whose not in _WHOSE or not isinstance(operation, dict):
            return
        size = len(json.dumps(operation))
        self._drop_overwritten(whose, operation)
        if len(self._unsent) >= MAX_CHANGES or self._chars + size > MAX_CHARS:
            self._dropped += 1
            return
        self._unsent.append(({"n": self._first + n, "whose": whose, "operation": operation}, size))
        self._chars += size

    def unsent(self, chars: int = MAX_CHARS) -> list[dict[str, Any]]:
        """The first of those that nobody has taken, about so many characters of them; they are kept."""
        some: list[dict[str, Any]] = []
        for change, size in self._unsent:
            chars -= size
            if some and chars < 0:
                break
            some.append(change)
        return some

    def forget(self, n: int) -> None:
        """The control plane has taken all up to that one."""
        while self._unsent and self._unsent[0][0]["n"] <= n:
            self._chars -= self._unsent.popleft()[1]

    def take_dropped(self) -> int:
        """How many were dropped since this was asked."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def _drop_overwritten(self, whose: str, operation: dict[str, Any]) -> None:
        """A value that is set anew before the last one was of use: progress is told often. It may be on its way already."""
        if operation.get("type") != "set" or not self._unsent:
            return
        last, size = self._unsent[-1]
        before = last["operation"]
        if (last["whose"], before.get("type"), before.get("key")) == (whose, "set", operation.get("key")):
            self._unsent.pop()
            self._chars -= size
