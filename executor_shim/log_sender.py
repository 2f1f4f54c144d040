"""Sends a running attempt's lines beside its work: a slow control plane never holds up the watch over the process."""

from __future__ import annotations

import queue
import threading

from sojourn.executor_shim.control import Control, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TRIES = 3


class LogSender:
    """One batch is under way at a time; what comes meanwhile waits in its attempt's buffer, which is bounded."""

    def __init__(self, connect: Callable[[], Control]):
        self._connect = connect
        self._batches: queue.SimpleQueue[tuple[str, int, str, list[dict[str, Any]]]] = queue.SimpleQueue()
        self._is_started = False
        self._under_way = False

    @property
    def is_free(self) -> bool:
        """Whether a batch may be handed over."""
        return not self._under_way

    def send(self, run: str, snapshot: int, token: str, lines: list[dict[str, Any]]) -> None:
        """Takes a batch and returns at once. Only when free."""
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._send_on, name="logs", daemon=True).start()
        self._under_way = True
        self._batches.put((run, snapshot, token, lines))

    def _send_on(self) -> None:
        control = self._connect()
        while True:
            run, snapshot, token, lines = self._batches.get()
            for _ in range(_TRIES):
                try:
                    control.logs(run, snapshot, token, lines)
                    break
                except Refused:
                    break
                except (OSError, ValueError):
                    continue
            self._under_way = False
