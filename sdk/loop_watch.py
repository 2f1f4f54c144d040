"""The watch over one event loop: what its coroutines wait for is told when the loop is about to sleep.

A loop that is about to sleep asks its selector, with a timeout where it has timers: so the watch stands before the
selector. Where a loop has none (another loop than asyncio's own), waits are told in the loop's next round, and the
process never counts as blocked.

Timers that are far away do not keep a loop from being blocked: the platform is told of one more wait, for the moment of
the earliest. Until the run has its place again no timer fires, be it due; then results come first, and timers after them.
"""

from __future__ import annotations

import asyncio
import time

from sojourn.sdk import idle
from sojourn.sdk.loop_clock import clock_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from sojourn.sdk.conditions import Condition
    from sojourn.sdk.loop_clock import LoopClock
    from sojourn.sdk.waiting import Group, Waiting

#: Seconds that a loop may be busy before what is new in it is told all the same.
_BUSY = 0.02
#: Seconds. Nearer timers are always slept; so much earlier than what was told a timer has to be for it to be told; and
#: so long, at most, results keep timers waiting.
_NEAR, _SAME, _CATCH_UP = 0.05, 1.0, 0.1
#: Rounds in which a loop learns that its connections were closed while it was frozen, before results let code go on.
_ROUNDS = 5


class LoopWatch:
    """`is_own`: the loop runs in the attempt's thread, so that the process is blocked when the loop is."""

    def __init__(self, waiting: Waiting, loop: asyncio.AbstractEventLoop, *, is_own: bool):
        self.loop = loop
        self._waiting = waiting
        self._is_own = is_own
        self._futures: dict[Group, asyncio.Future[None]] = {}
        self._busy_since = 0.0
        #: What `on_wait` hooks were told; None when they have not run since the loop went on.
        self._hooked: tuple[str, tuple[Condition, ...]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._selector = idle.selector_of(loop)
        self._select: Callable[..., Any] | None = None
        #: The wait that stands for the loop's earliest timer, and when that is due by the loop's clock.
        self._timer: Group | None = None
        self._timer_due = 0.0
        self._clock: LoopClock | None = None
        #: A moment of the loop's clock at which no timer was due; while there is one, timers are held back.
        self._held_at: float | None = None
        self._held_until = 0.0
        self._is_refused = False
        self._rounds_left = 0
        self._learning: asyncio.Handle | None = None
        if self._selector is not None:
            self._select = self._selector.select
            self._selector.select = self._before_select

    def add(self, group: Group, future: asyncio.Future[None]) -> None:
        """A coroutine waits by `future` for the group."""
        self._futures[group] = future
        if self._selector is None:
            self.loop.call_soon(self._flush)

    def drop(self, group: Group) -> None:
        """It does not wait any more."""
        self._futures.pop(group, None)

    def forget_timer(self) -> None:
        """The loop's earliest timer is not waited for any more. In the loop's thread."""
        timer, self._timer = self._timer, None
        if timer is not None:
            self._waiting.forget(timer)

    def look(self) -> None:
        """From any thread: some group of this loop may be over."""
        try:
            self.loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            return  # the loop is closed: nobody waits in it

    def thawed(self) -> None:
        """From any thread: the process was frozen; its results come after this."""
        self._rounds_left = _ROUNDS

    def close(self) -> None:
        """The selector is the loop's own again."""
        if self._selector is not None and self._selector.__dict__.get("select") == self._before_select:
            del self._selector.select

    # --- in the loop's thread

    def _before_select(self, timeout: float | None = None) -> Any:
        assert self._select is not None
        has_work = self._has_work(timeout)
        self._let_timers_go()
        if not has_work and self._held_at is not None and self._waiting.is_blocked:
            timeout = None
        events = self._select(0 if has_work else timeout)
        if self._held_at is not None and self._clock is not None:
            self._clock.answer_once(self._held_at)  # the loop asks just now which timers are due
        return events

    def _has_work(self, timeout: float | None) -> bool:
        """Tells what is to be told before the loop sleeps; whether it has made work for the loop."""
        waiting = self._waiting
        if not self._futures and not waiting.is_blocked and self._hooked is None:
            return False
        if timeout == 0 and not self._is_held():
            now = time.monotonic()
            self._busy_since = self._busy_since or now
            if now - self._busy_since > _BUSY and (waiting.has_unsent or self._is_awake()):
                self._flush()
            return False
        self._busy_since = 0.0
        if not self._is_idle(timeout):
            was_blocked = self._is_awake()
            self._flush()
            return was_blocked and self._resume()
        if self._hooked is None and waiting.hooks.has():
            return self._begin_hooks()
        self._wait_for_timer(timeout)
        waiting.tell(blocked=True)
        return False

    def _is_awake(self) -> bool:
        """Whether a loop that was told to be blocked turns out to be busy."""
        return self._is_own and self._waiting.is_blocked

    def _is_idle(self, timeout: float | None) -> bool:
        if not self._is_own or not self._futures or self._task is not None:
            return False
        return self._can_wait_for_timer(timeout) and idle.is_idle(self.loop, self._futures.values())

    # --- timers

    def _can_wait_for_timer(self, timeout: float | None) -> bool:
        """Whether the loop has no timer, or one that is far away, or that the platform is told of."""
        if timeout is None:
            return True
        due = idle.earliest_timer(self.loop)
        if due is None or self._is_refused or not self._waiting.counts_timers:
            return False
        self._clock = self._clock or clock_of(self.loop)
        if self._clock is None:
            return False
        return self._covers(due) or due - self.loop.time() > max(self._waiting.short, _NEAR)

    def _covers(self, due: float) -> bool:
        """Whether the run is blocked, and its block ends when this timer is due, or before."""
        timer = self._timer
        return timer is not None and not timer.is_over and self._waiting.is_blocked and due > self._timer_due - _SAME

    def _wait_for_timer(self, timeout: float | None) -> None:
        """Has the earliest timer among what the run waits for; one that comes later than was told wakes it in vain."""
        due = idle.earliest_timer(self.loop) if timeout is not None else None
        if due is None:
            self.forget_timer()
            self._held_at = None
            return
        if self._covers(due):
            return
        now = self.loop.time()
        if self._timer is None or self._timer.is_over or abs(due - self._timer_due) > _SAME:
            self.forget_timer()
            self._timer = self._waiting.begin_timer(due - now, self.look)
            self._timer_due = due
        self._held_at = now

    def _is_held(self) -> bool:
        """Whether nothing but a timer, which is held back, is due."""
        return self._held_at is not None and self._waiting.is_blocked and not idle.has_ready(self.loop)

    def _let_timers_go(self) -> None:
        """Once the run has its place, and what was done meanwhile is seen to."""
        if self._held_at is None:
            return
        now = time.monotonic()
        if self._waiting.is_blocked:
            self._held_until = 0.0
            return
        self._held_until = self._held_until or now + _CATCH_UP
        if not idle.has_ready(self.loop) or now > self._held_until:
            self._held_at, self._held_until = None, 0.0

    # --- hooks

    def _begin_hooks(self) -> bool:
        self._hooked = self._waiting_for()
        self._start(self._run_on_wait(*self._hooked))
        return True

    async def _run_on_wait(self, need: str, conditions: Sequence[Condition]) -> None:
        try:
            await self._waiting.hooks.run_in_loop("on_wait", need, conditions)
        except Exception as error:
            self._hooked = None
            self._raise_in_all(error)

    def _resume(self) -> bool:
        """The loop has gone on by itself: hooks are told so, and hold nobody back."""
        if self._hooked is None or self._task is not None:
            return False
        self._start(self._run_on_resume())
        return True

    def _settle(self) -> None:
        if self._rounds_left:
            self._learning = self._learning or self.loop.call_soon(self._learn)
            return
        timer = self._timer
        if timer is not None and timer.error is not None:
            self._is_refused = True
        is_time = timer is not None and timer.is_over and self._hooked is not None
        if self._task is not None or not (is_time or any(group.is_over for group in self._futures)):
            return  # hooks that are under way come first
        if self._hooked is None:
            self._let_go()
        else:
            self._start(self._run_on_resume())

    def _learn(self) -> None:
        self._rounds_left -= 1
        self._learning = self.loop.call_soon(self._learn) if self._rounds_left else None
        self._settle()

    async def _run_on_resume(self) -> None:
        hooked, self._hooked = self._hooked, None
        assert hooked is not None
        try:
            await self._waiting.hooks.run_in_loop("on_resume", *hooked)
        except Exception as error:
            self._raise_in_all(error)
        self._let_go()

    def _let_go(self) -> None:
        for group, future in self._futures.items():
            if group.is_over and not future.done():
                future.set_result(None)

    def _raise_in_all(self, error: Exception) -> None:
        for future in self._futures.values():
            if not future.done():
                future.set_exception(error)

    def _start(self, coroutine: Any) -> None:
        self._task = self.loop.create_task(coroutine)
        self._task.add_done_callback(self._task_over)

    def _task_over(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._settle()  # what has come meanwhile

    def _waiting_for(self) -> tuple[str, tuple[Condition, ...]]:
        groups = [group for group in self._futures if not group.is_over]
        conditions = tuple(condition for group in groups for condition in group.conditions)
        need = groups[0].need if len(groups) == 1 and len(conditions) > 1 else "any"
        return need, conditions

    def _flush(self) -> None:
        self._waiting.tell(blocked=False if self._is_own else None)
