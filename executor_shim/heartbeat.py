"""Heartbeats: a thread of the shim, so that user code which holds its interpreter is not taken for dead.

A beat is a long poll: the control plane answers when the interval is over or something happened to the run, so that a
cancellation arrives at once. A run that is over within half a second never beats.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from dataclasses import dataclass

from sojourn.executor_shim.control import Control, Refused

_FIRST_AFTER = 0.5


@dataclass(frozen=True, slots=True)
class Held:
    """The run that beats."""

    run: str
    snapshot: int
    token: str
    since: float


@dataclass(frozen=True, slots=True)
class News:
    """Something the shim must act on: `state` is cancel (from `snapshot` on), stop, or lost (out of touch)."""

    run: str
    state: str
    snapshot: int | None = None


class Heartbeat:
    """`wakeup` is a descriptor that becomes readable when there is news."""

    def __init__(self, control: Control, interval: float, lease: float):
        self._control = control
        self.interval = interval
        self.lease = lease
        self._held: Held | None = None
        self._news: News | None = None
        self._ending = threading.Event()
        self.wakeup, self._ring = os.pipe()
        os.set_blocking(self.wakeup, False)
        self._thread: threading.Thread | None = None

    def hold(self, run: str, snapshot: int, token: str) -> None:
        """This run beats from now on."""
        self._news = None
        self._held = Held(run, snapshot, token, time.monotonic())
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
            self._thread.start()

    def let_go(self) -> None:
        """Nothing beats."""
        self._held = None

    def news(self) -> News | None:
        """What there is to act on, once."""
        try:
            os.read(self.wakeup, 64)
        except BlockingIOError:
            pass
        news, self._news = self._news, None
        held = self._held
        return news if news and held and news.run == held.run else None

    def end(self) -> None:
        """Ends the thread after the call under way."""
        self._ending.set()

    def _beat_on(self) -> None:
        heard = time.monotonic()
        while not self._ending.wait(0.1 if self._held else _FIRST_AFTER / 2):
            held = self._held
            if held is None or time.monotonic() - held.since < _FIRST_AFTER:
                heard = time.monotonic()
                continue
            try:
                answer = self._control.heartbeat(held.run, held.snapshot, held.token, self.interval)
                heard = time.monotonic()
                self._act(held, answer)
            except Refused as error:
                if error.status < 500:
                    self._tell(News(held.run, "stop"))
                    self._wait_for_another(held)
                else:
                    self._out_of_touch(held, heard)
            except (OSError, ValueError, http.client.HTTPException):
                self._control.close()
                self._out_of_touch(held, heard)

    def _act(self, held: Held, answer: dict[str, object]) -> None:
        state = answer.get("state")
        if state in ("cancel", "stop"):
            snapshot = answer.get("snapshot")
            self._tell(News(held.run, str(state), snapshot if isinstance(snapshot, int) else None))
            self._wait_for_another(held)

    def _out_of_touch(self, held: Held, heard: float) -> None:
        """Nobody answers: before the lease is over the run must be stopped, since it will be given to another."""
        if time.monotonic() - heard > self.lease * 0.8:
            self._tell(News(held.run, "lost"))
            self._wait_for_another(held)
        else:
            self._ending.wait(min(self.interval, 0.5))

    def _tell(self, news: News) -> None:
        self._news = news
        os.write(self._ring, b"!")

    def _wait_for_another(self, held: Held) -> None:
        while self._held is held and not self._ending.wait(0.1):
            continue
