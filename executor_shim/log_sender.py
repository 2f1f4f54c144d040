"""Sends a running attempt's lines, and its changes of metadata, beside its work: a slow control plane never holds up the
watch over the process.
"""

from __future__ import annotations

import queue
import threading

from sojourn.executor_shim.control import Control, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    #: Run, number, refusals.
    Taken = tuple[str, int, list[str]]
    #: Run, snapshot, token, lines, changes.
    Batch = tuple[str, int, str, list[dict[str, Any]], list[dict[str, Any]]]

_TRIES = 3


class LogSender:
    """One batch is under way at a time; what comes meanwhile waits in its attempt's buffer, which is bounded."""

    def __init__(self, connect: Callable[[], Control]):
        self._connect = connect
        self._batches: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._is_started = False
        self._under_way = False
        self._taken: Taken | None = None

    @property
    def is_free(self) -> bool:
        """Whether a batch may be handed over."""
        return not self._under_way

    def told(self, run: str) -> tuple[int, list[str]]:
        """The number of the last change of a run that the control plane has taken, and what it refused; told once."""
        taken, self._taken = self._taken, None
        return (taken[1], taken[2]) if taken is not None and taken[0] == run else (0, [])

    def send(self, run: str, snapshot: int, token: str, lines: list[dict[str, Any]], changes: list[dict[str, Any]]) -> None:
        """Takes a batch and returns at once. Only when free. Lines are given up after some tries; `told` is of changes."""
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._send_on, name="logs", daemon=True).start()
        self._under_way = True
        self._batches.put((run, snapshot, token, lines, changes))

    def _send_on(self) -> None:
        control = self._connect()
        while True:
            run, snapshot, token, lines, changes = self._batches.get()
            for _ in range(_TRIES):
                try:
                    answer = control.logs(run, snapshot, token, lines, changes)
                    if changes:
                        self._taken = run, changes[-1]["n"], [str(each) for each in answer.get("refused") or ()]
                    break
                except Refused:
                    break
                except (OSError, ValueError):
                    continue
            self._under_way = False
