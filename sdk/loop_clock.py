"""The clock of an event loop, put right after its process was frozen: the monotonic clock of a frozen process stands still.

Timers of a loop are moments of its clock, `loop.time()`; so where that goes on as the wall clock did, they are due when
they should be.
"""

from __future__ import annotations

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class LoopClock:
    """Stands in for `loop.time`: seconds of the loop's own clock, and `shift` beside."""

    def __init__(self, own: Callable[[], float]):
        self._own = own
        self._next: float | None = None
        self.shift = 0.0

    def __call__(self) -> float:
        answer, self._next = self._next, None
        return self._own() + self.shift if answer is None else answer

    def answer_once(self, moment: float) -> None:
        """Whoever asks next gets this moment."""
        self._next = moment


def clock_of(loop: asyncio.AbstractEventLoop) -> LoopClock | None:
    """The clock of a loop, from now on one that can be shifted; None where the loop's time is not asyncio's own."""
    known = getattr(loop, "__dict__", {}).get("time")
    if isinstance(known, LoopClock):
        return known
    if known is not None or getattr(type(loop), "time", None) is not asyncio.BaseEventLoop.time:
        return None
    clock = LoopClock(loop.time)
    loop.time = clock  # type: ignore[method-assign]
    return clock


def shift(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """From any thread: the loop's clock is so far behind. The loop looks at it anew."""
    clock = clock_of(loop)
    if clock is None:
        return
    clock.shift += seconds
    try:
        loop.call_soon_threadsafe(_nothing)
    except RuntimeError:
        return  # the loop is closed: nothing is due in it


def _nothing() -> None:
    return
