"""What was looked up a moment ago. What is revoked meanwhile is honoured for those seconds more, and no longer."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds that a process may go on honouring a key after it was revoked.
SECONDS = 5
_SIZE = 10_000


class Recent(Generic[T]):
    """Values by their names, each for some seconds; threads may share one."""

    def __init__(self, seconds: float = SECONDS):
        self._life = timedelta(seconds=seconds)
        self._kept: dict[str, tuple[T, datetime]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, now: datetime) -> T | None:
        """What was kept, if it still counts."""
        kept = self._kept.get(name)
        return kept[0] if kept and kept[1] > now else None

    def keep(self, name: str, value: T, now: datetime) -> T:
        """The value, which counts from now on."""
        with self._lock:
            if len(self._kept) >= _SIZE:
                self._kept.clear()
            self._kept[name] = (value, now + self._life)
        return value

    def forget(self, name: str) -> None:
        """It has to be looked up again."""
        with self._lock:
            self._kept.pop(name, None)

    def clear(self) -> None:
        """Everything has to be looked up again."""
        with self._lock:
            self._kept.clear()
