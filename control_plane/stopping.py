"""Being asked to stop, by a signal too: with a pipe, because a signal's handler must not wait for a lock.

It runs in the middle of whatever the main thread does. `threading.Event.set` takes the lock that `wait` holds for a
moment: a handler that calls it in that moment waits for its own thread, for ever.
"""

from __future__ import annotations

import os
import select
import signal


class Stopping:
    """Whether this process was asked to stop. `ask` may be called from a signal's handler, at any moment."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_asked = False
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)

    @property
    def is_asked(self) -> bool:
        """Whether `ask` was called."""
        return self._is_asked

    def ask(self) -> None:
        """Ends every `wait`, and those to come."""
        self._is_asked = True
        try:
            os.write(self._write, b"!")
        except BlockingIOError:
            return  # there is more than enough in it

    def ask_on(self, *numbers: signal.Signals) -> None:
        """These signals ask. In the main thread only."""
        for number in numbers:
            signal.signal(number, lambda *_: self.ask())

    def wait(self, seconds: float | None = None) -> bool:
        """Until `ask`, or `seconds` are over (None: however long it takes); whether it was asked."""
        self._poll.poll(None if seconds is None else seconds * 1000)
        return self._is_asked

    def close(self) -> None:
        """Gives the pipe back. Nothing may ask or wait any more."""
        os.close(self._read)
        os.close(self._write)
