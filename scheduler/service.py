"""The loop that every periodic service runs under: one bounded pass, then a wait that a wake-up cuts short."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from sojourn.control_plane.queue.wakeups import QueueUnavailable, Wakeups
from sojourn.control_plane.store.database import StoreUnavailable

log = logging.getLogger(__name__)

#: What a pass did, by name; nothing in it means it found nothing to do.
Counts = Mapping[str, int]

_BACK_OFF = 1.0


class Service(Protocol):
    """One periodic service. `name` is also the name under which it is woken."""

    name: str

    def run_once(self, now: datetime) -> Counts:
        """One bounded pass; says what it did. Running it twice, or in two places, does no harm."""

    def interval(self, now: datetime) -> float:
        """Seconds until the next pass, if nobody wakes it before."""


class Loop:
    """Runs one service in a thread until it is stopped. `may_run` is asked before each pass: the leader's lease."""

    def __init__(
        self,
        service: Service,
        wakeups: Wakeups,
        clock: Callable[[], datetime],
        may_run: Callable[[], bool] = lambda: True,
    ):
        self._service = service
        self._wakeups = wakeups
        self._clock = clock
        self._may_run = may_run
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=service.name, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Asks the loop to end after the pass under way."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Waits for its end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._leads():
                self._wait(self._pass())
            else:
                # Without a look at Redis: a wake-up is for the one that leads, and is there once.
                self._stopping.wait(_BACK_OFF)

    def _leads(self) -> bool:
        try:
            return self._may_run()
        except StoreUnavailable as error:
            log.warning("%s waits: %s", self._service.name, error)
        except Exception:
            log.exception("%s cannot tell whether it may run", self._service.name)
        return False

    def _pass(self) -> float:
        try:
            now = self._clock()
            counts = self._service.run_once(now)
            if any(counts.values()):
                log.debug("%s: %s", self._service.name, dict(counts))
            return self._service.interval(now)
        except (StoreUnavailable, QueueUnavailable) as error:
            log.warning("%s waits: %s", self._service.name, error)
        except Exception:
            log.exception("%s failed; it goes on", self._service.name)
        return _BACK_OFF

    def _wait(self, seconds: float) -> None:
        """Until a wake-up, `seconds`, or the end. Without Redis it is a plain wait."""
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            try:
                if self._wakeups.wait(self._service.name, min(left, _BACK_OFF)):
                    return
            except QueueUnavailable:
                self._stopping.wait(min(left, _BACK_OFF))
