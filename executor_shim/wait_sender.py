"""Tells the control plane of a run's waits, beside its work: a slow answer never holds up the watch over the process.

One call is under way at a time. What the process tells meanwhile is put together: all waits that are new, and the last
word on what is pending and whether it is blocked.
"""

from __future__ import annotations

import os
import queue
import threading

from sojourn.executor_shim.control import Control, OutOfTouch, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Told:
    """What a call came to: an `answer`, or a `refusal`, or neither where nobody answered. `body` is what was told."""

    def __init__(
        self,
        owner: object,
        body: dict[str, Any],
        answer: dict[str, Any] | None = None,
        refusal: Refused | None = None,
    ):
        self.owner, self.body, self.answer, self.refusal = owner, body, answer, refusal


class WaitSender:
    """`wakeup` is a descriptor that becomes readable when a call is over. Everything but `_send_on` is the main thread's.

    `owner`s tell the calls of one attempt from those of another.
    """

    def __init__(self, connect: Callable[[], Control]):
        self._connect = connect
        self._calls: queue.SimpleQueue[tuple[object, dict[str, Any], float]] = queue.SimpleQueue()
        self._over: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._free = threading.Event()
        self._free.set()
        self._is_started = False
        self.wakeup, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def is_free(self) -> bool:
        """Whether a call may be handed over: the last one is over, and `told` has given what it came to."""
        return self._free.is_set() and self._over.empty()

    def send(self, owner: object, body: dict[str, Any], patience: float) -> None:
        """Takes a call and returns at once. Only when free."""
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._send_on, name="waits", daemon=True).start()
        self._free.clear()
        self._calls.put((owner, body, patience))

    def told(self, owner: object) -> Told | None:
        """What the owner's last call came to, once; what came of others' is dropped."""
        try:
            os.read(self.wakeup, 64)
        except BlockingIOError:
            pass
        while not self._over.empty():
            told = self._over.get()
            if told.owner is owner:
                return told
        return None

    def settle(self, seconds: float) -> None:
        """Until no call is under way: it may move the run. `seconds` at most."""
        self._free.wait(seconds)

    # --- the thread

    def _send_on(self) -> None:
        control = self._connect()
        while True:
            owner, body, patience = self._calls.get()
            told = Told(owner, body)
            try:
                told.answer = control.wait(body, patience)
            except Refused as error:
                told.refusal = error
            except OutOfTouch:
                pass
            self._over.put(told)
            self._free.set()
            os.write(self._ring, b"!")
