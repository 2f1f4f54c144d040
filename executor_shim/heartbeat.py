"""Heartbeats: a thread of the shim, so that user code which holds its interpreter is not taken for dead.

A beat is a long poll: the control plane answers when the interval is over or something happened to the run, so that a
cancellation arrives at once. Runs that are over sooner than the first beat is due never come here: the thread is
started by the first run that lasts.
"""

from __future__ import annotations

import os
import queue
import threading
import time

from sojourn.executor_shim.control import Control, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: The part of a lease after which an executor that hears nothing must have stopped its run.
_TRUSTED = 0.8
#: Seconds before a beat that failed is repeated: of these the longest, of a short lease a thirtieth.
_PAUSE = 0.5


class Held:
    """The run that beats. `good_until`: when, by the monotonic clock, it must be stopped if nobody answers."""

    def __init__(self, run: str, snapshot: int, token: str, interval: float, lease: float, since: float):
        self.run = run
        self.snapshot = snapshot
        self.token = token
        self.interval = min(interval, lease / 3)
        self.lease = lease
        self.pause = min(_PAUSE, lease / 30)
        self.is_unanswered = False
        self.good_until = since + lease * _TRUSTED
        self.over = threading.Event()
        #: Keys of waits whose results are wanted with the answer. Another list is put in its place, none is changed.
        self.pending: list[str] = []


class News:
    """What the shim must act on. `state`: cancel, stop or continue, as of `snapshot`; `done`: results of waits by key.

    `is_blocked`: whether the run waits without its place, as of that snapshot.
    """

    def __init__(
        self, state: str, snapshot: int | None = None, done: dict[str, Any] | None = None, is_blocked: bool = False
    ):
        self.state = state
        self.snapshot = snapshot
        self.done = done or {}
        self.is_blocked = is_blocked


class Heartbeat:
    """`wakeup` is a descriptor that becomes readable when there is news. `hold` and `let_go` are the main thread's."""

    def __init__(self, connect: Callable[[], Control]):
        self._connect = connect
        self._control: Control | None = None
        self._held: Held | None = None
        self._news: queue.SimpleQueue[tuple[Held, News]] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Held] = queue.SimpleQueue()
        self.wakeup, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def hold(self, held: Held) -> None:
        """This run beats from now on."""
        if self._control is None:
            self._control = self._connect()
            threading.Thread(target=self._beat_on, name="heartbeat", daemon=True).start()
        self._held = held
        self._inbox.put(held)

    def let_go(self) -> None:
        """Nothing beats; a poll that is under way is broken off."""
        held, self._held = self._held, None
        if held is not None and self._control is not None:
            held.over.set()
            self._control.connection.abort()

    def follow(self, snapshot: int, pending: list[str]) -> None:
        """From the next beat on the run is at this snapshot, and these results are wanted."""
        if self._held is not None:
            self._held.snapshot, self._held.pending = snapshot, pending

    @property
    def beats(self) -> bool:
        """Whether a run beats."""
        return self._held is not None

    @property
    def is_lost(self) -> bool:
        """Whether nobody has answered for so long that the run may have been given to another."""
        return self._held is not None and time.monotonic() >= self._held.good_until

    @property
    def good_until(self) -> float:
        """The moment at which `is_lost` would become true."""
        return self._held.good_until if self._held else float("inf")

    def news(self) -> News | None:
        """The next of what there is to act on, once; None when there is nothing more."""
        try:
            os.read(self.wakeup, 64)
        except BlockingIOError:
            pass
        while not self._news.empty():
            held, news = self._news.get()
            if held is self._held:
                return news
        return None

    # --- the thread

    def _beat_on(self) -> None:
        assert self._control is not None
        while True:
            held = self._inbox.get()
            while not held.over.is_set():
                if self._beat(self._control, held):
                    break
            self._control.close()

    def _beat(self, control: Control, held: Held) -> bool:
        """One beat; true if no further one is wanted."""
        sent = time.monotonic()
        # After one that failed, what matters is whether the lease still holds: the next one asks for its answer at once.
        wait = 0 if held.is_unanswered else held.interval
        timeout = wait + max(held.lease / 4, 1)
        snapshot = held.snapshot
        try:
            answer = control.heartbeat(held.run, snapshot, held.token, wait, timeout, held.pending)
        except Refused as error:
            if error.status < 500 and error.status not in (408, 429):
                return self._tell(held, News("stop"))
            return self._failed(held)
        except (OSError, ValueError):
            return self._failed(held)
        held.is_unanswered = False
        held.good_until = sent + held.lease * _TRUSTED
        return self._act(held, answer, snapshot)

    def _failed(self, held: Held) -> bool:
        held.is_unanswered = True
        held.over.wait(held.pause)
        return False

    def _act(self, held: Held, answer: dict[str, Any], sent: int) -> bool:
        state, done = str(answer.get("state")), answer.get("done") or {}
        newer = answer.get("snapshot")
        snapshot = newer if isinstance(newer, int) else None
        if state in ("cancel", "stop"):
            return self._tell(held, News(state, snapshot))
        if snapshot is None and not done:
            return False
        # What was given is not asked for again, and the next beat knows the run where it is; the main thread, which has
        # the last word on both, may already have put in something newer.
        held.pending = [key for key in held.pending if key not in done]
        held.snapshot = max(held.snapshot, snapshot or sent)
        self._tell(held, News("continue", snapshot or sent, done, bool(answer.get("blocked"))))
        return False

    def _tell(self, held: Held, news: News) -> bool:
        """True: no further beat is wanted."""
        self._news.put((held, news))
        os.write(self._ring, b"!")
        return True
