"""Sends a running attempt's lines beside its work: a slow control plane never holds up the watch over the process."""

from __future__ import annotations

import http.client
import queue
import threading
from typing import Any

from sojourn.executor_shim.control import Control, Refused

_BATCHES = 20


class LogSender:
    """Batches that cannot be kept are dropped; the next one says how many lines that were."""

    def __init__(self, control: Control):
        self._control = control
        self._batches: queue.Queue[tuple[str, int, str, list[dict[str, Any]]]] = queue.Queue(_BATCHES)
        self._thread: threading.Thread | None = None

    def send(self, run: str, snapshot: int, token: str, lines: list[dict[str, Any]]) -> None:
        """Takes a batch and returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_on, name="logs", daemon=True)
            self._thread.start()
        try:
            self._batches.put_nowait((run, snapshot, token, lines))
        except queue.Full:
            lost = {**lines[-1], "stream": "system", "level": "WARN", "message": f"{len(lines)} lines dropped"}
            try:
                self._batches.get_nowait()
                self._batches.put_nowait((run, snapshot, token, [lost]))
            except (queue.Empty, queue.Full):
                return

    def _send_on(self) -> None:
        while True:
            run, snapshot, token, lines = self._batches.get()
            for _ in range(3):
                try:
                    self._control.logs(run, snapshot, token, lines)
                    break
                except Refused:
                    break
                except (OSError, ValueError, http.client.HTTPException):
                    self._control.close()
