"""Stopping the code of one attempt from another thread: surely, and only while the attempt is in it."""

from __future__ import annotations

import signal
import sys
import threading
import time

from sojourn.sdk.errors import RunCancelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

#: Its default is to do nothing, so that it is harmless whenever it comes.
_WAKE = signal.SIGURG
#: Seconds between sendings. The exception is lost if it comes in a `__del__` or a callback of the garbage collector, the
#: signal if it comes just before the thread begins to sleep; so both are sent until they have arrived, for 10 s at most.
_PAUSES = (0.001, 0.01, *(0.05,) * 200)


class Interrupt:
    """`begin` and `end` are called by the thread that runs the attempt, `send` by another.

    Coroutines are cancelled; other code gets `RunCancelledError` between two of its instructions, and a signal so
    that `time.sleep` and the like return. `end` may be interrupted itself; called again, it then ends for good.
    """

    def __init__(self) -> None:
        self.requested = False
        self._thread = 0
        self._ended = False
        self._sending = False
        self._sent = False
        self._in_loop = False
        self._loop_task: asyncio.Task[object] | None = None
        self._wakes = False
        self._over = threading.Event()
        #: Called when the exception was sent, for a thread that sleeps where no signal wakes it.
        self.on_sent: Callable[[], None] = _nothing

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the attempt's."""
        return self._thread == threading.get_ident()

    @property
    def is_over(self) -> bool:
        """Whether the attempt has ended."""
        return self._ended

    def begin(self) -> None:
        """From now on the calling thread can be stopped."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(_WAKE) is signal.SIG_DFL:
            signal.signal(_WAKE, lambda number, frame: None)
            self._wakes = True
        self._thread = threading.get_ident()

    def end(self) -> None:
        """From now on it cannot; what was sent and has not arrived is taken back."""
        self._ended = True
        while self._sending:
            time.sleep(0.0002)
        if self._sent:
            _raise_in(self._thread, None)
        if self._wakes:
            signal.signal(_WAKE, signal.SIG_DFL)
            self._wakes = False
        self._over.set()

    def check(self) -> None:
        """Raises what `send` would, for code that is about to begin a new step."""
        if self.requested:
            raise RunCancelledError

    def entering_loop(self) -> None:
        """The thread goes into an event loop, which must be stopped by its own means."""
        self._in_loop = True

    def in_coroutine(self, loop_task: asyncio.Task[object] | None) -> None:
        """The task that can be cancelled, if there is one."""
        self._loop_task = loop_task

    def left_loop(self) -> None:
        """The thread is out of the event loop."""
        self._loop_task = None
        self._in_loop = False

    def send(self) -> None:
        """Stops the code. `requested` was set before."""
        for pause in _PAUSES:
            if not self._send() or self._over.wait(pause):
                return

    def _send(self) -> bool:
        """Sends once; whether it is worth a look later."""
        self._sending = True
        try:
            if self._ended or not self._thread:
                return False
            loop_task = self._loop_task
            if loop_task is not None:
                loop_task.get_loop().call_soon_threadsafe(loop_task.cancel)
                return False
            if self._in_loop or _is_handling(self._thread):
                return False
            self._sent = True
            _raise_in(self._thread, RunCancelledError)
            if self._wakes:
                signal.pthread_kill(self._thread, _WAKE)
            self.on_sent()
            return True
        except RuntimeError:
            return False  # the loop was closed meanwhile: nothing is left to stop
        finally:
            self._sending = False


def _is_handling(thread: int) -> bool:
    """Whether the exception has arrived, and the thread's code is cleaning up."""
    active: Any = sys._current_exceptions().get(thread)
    error = active[1] if isinstance(active, tuple) else active
    while error is not None and not isinstance(error, RunCancelledError):
        error = error.__context__
    return error is not None


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    import ctypes

    what = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)


def _nothing() -> None:
    return
