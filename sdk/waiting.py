"""What the code of one attempt waits for, and whether its process can do anything but wait.

A *group* is one call's waits; each wait has a key, under which the platform knows it and its result arrives. The process
is blocked when the thread that runs the attempt is in a wait, or when its event loop can only be woken by waits. That is
told through a *port* in one message with the waits that are new, and told again when it changes. A result that arrives
takes the block back: the platform has given the run its place again.
"""

from __future__ import annotations

import threading
import time

from sojourn.sdk.errors import OutsideRunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import Any, Literal, Protocol

    from sojourn.sdk.conditions import Condition, Date
    from sojourn.sdk.interrupt import Interrupt
    from sojourn.sdk.loop_watch import LoopWatch
    from sojourn.sdk.wait_hooks import WaitHooks

    Need = Literal["any", "all"]

    class Port(Protocol):
        """Where waits are told. `is_played`: as in a test, nothing is slept, and no thread calls what blocks."""

        is_played: bool

        def begin(self, condition: Condition) -> None:
            """Code begins to wait for this, be it asleep in the process."""

        def tell(self, waits: list[dict[str, Any]], pending: list[str], block: Need | None) -> None:
            """`waits` are new, `pending` are all keys without a result; `block`: what ends it, None: not blocked."""


#: Seconds. Waits up to this are slept in the process, unless the assignment says otherwise.
SHORT = 5.0


class Group:
    """The waits of one call. `told` has what arrived, by index; `error` is why the call cannot be waited for."""

    def __init__(self, need: Need, conditions: Sequence[Condition], wake: Callable[[], None]):
        self.need: Need = need
        self.conditions = tuple(conditions)
        self.keys: dict[str, int] = {}
        self.told: dict[int, Mapping[str, Any]] = {}
        self.error: Exception | None = None
        self.wake = wake

    @property
    def is_over(self) -> bool:
        """Whether the call can return."""
        enough = 1 if self.need == "any" else len(self.conditions)
        return self.error is not None or len(self.told) >= enough

    def result(self, index: int) -> Any:
        """What one of its conditions came to; raises what stands for it."""
        return self.conditions[index].read(self.told[index])

    @property
    def first(self) -> int:
        """The first of its conditions, as they were given, that has come."""
        return min(self.told)


class Latch:
    """Lets one thread sleep until another releases it. A C lock: an exception of a cancellation leaves it whole."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, seconds: float = -1) -> bool:
        """Until it is released, or has been since the last time; False after `seconds`."""
        return self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))

    def release(self) -> None:
        """Wakes the thread."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it was released already


class Waiting:
    """The waits of one attempt, whose `number` begins their keys. Threads and event loops may wait at once.

    `now`: seconds since the epoch.
    """

    def __init__(
        self, number: int, port: Port, interrupt: Interrupt, hooks: WaitHooks, short: float, now: Callable[[], float]
    ):
        self.hooks = hooks
        self.short = short
        self._now = now
        self._number = number
        self._port = port
        self._interrupt = interrupt
        self._lock = threading.Lock()
        #: Held from when a message is put together until it is told: they are told in that order.
        self._telling = threading.Lock()
        self._count = 0
        self._pending: dict[str, Group] = {}
        self._unsent: list[dict[str, Any]] = []
        self._block: Need | None = None
        self._told: list[str] = []
        self._own: Group | None = None
        self._watches: dict[int, LoopWatch] = {}
        self._pool: Any = None
        self._is_over = False
        self._naps: set[Latch] = set()
        #: Moments of the wall clock and of the monotonic one, when a block was told last.
        self._clocks: tuple[float, float] | None = None

    # --- for code that waits

    def now(self) -> datetime:
        """The moment, from which durations are counted."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self._now(), UTC)

    def wait(self, need: Need, conditions: Sequence[Condition]) -> Group:
        """Waits in this thread; the group, whose results are there."""
        self._interrupt.check()
        if not self._interrupt.is_here:
            return self._wait(need, conditions, is_own=False)
        self.hooks.before(need, conditions)
        group = self._wait(need, conditions, is_own=True)
        self.hooks.after(need, conditions)
        return group

    async def wait_in_loop(self, need: Need, conditions: Sequence[Condition]) -> Group:
        """Waits in the running event loop."""
        import asyncio

        self._interrupt.check()
        loop = asyncio.get_running_loop()
        watch = self._watch(loop)
        future = loop.create_future()
        group = Group(need, conditions, watch.look)
        self._register(group)
        watch.add(group, future)
        try:
            await future
        finally:
            watch.drop(group)
            self.forget(group)
        if group.error is not None:
            raise group.error
        return group

    def nap(self, date: Date, seconds: float) -> None:
        """Sleeps in this thread until a date that is near; a cancellation ends it."""
        self._interrupt.check()
        self._port.begin(date)
        if self._port.is_played:
            return
        latch = Latch()
        self._naps.add(latch)
        try:
            latch.wait(seconds)
        finally:
            self._naps.discard(latch)

    async def nap_in_loop(self, date: Date, seconds: float) -> None:
        """Sleeps in the running event loop."""
        import asyncio

        self._interrupt.check()
        self._port.begin(date)
        await asyncio.sleep(0 if self._port.is_played else seconds)

    async def apart(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls what blocks in a thread, for code in an event loop; in its context, so that `auth.with_token` holds."""
        import asyncio
        import contextvars

        if self._port.is_played:
            return function(*arguments)
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_CALLS, "sojourn-call")
        here = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, here.run, function, *arguments)

    # --- for who brings results

    def deliver(self, done: Mapping[str, Mapping[str, Any]]) -> None:
        """Results by key, from any thread; of keys that nobody waits for they are dropped."""
        with self._lock:
            woken: set[Group] = set()
            for key, told in done.items():
                group = self._pending.pop(key, None)
                if group is not None:
                    group.told[group.keys[key]] = told
                    woken.add(group)
            if woken:
                self._block = None
                woken |= {self._own} if self._own is not None else set()
        for group in woken:
            group.wake()

    def fail(self, keys: Sequence[str], error: Exception) -> None:
        """The platform will not have these waits: their code gets the error."""
        with self._lock:
            woken = {group for key in keys if (group := self._pending.pop(key, None)) is not None}
            for group in woken:
                group.error = error
            if woken:
                self._block = None
                woken |= {self._own} if self._own is not None else set()
        for group in woken:
            group.wake()

    def thawed(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """The process was frozen. Event loops that wait, and `loop`, learn how much time has gone by."""
        clocks, self._clocks = self._clocks, None
        watches = tuple(self._watches.values())
        loops = {watch.loop for watch in watches} | ({loop} if loop is not None else set())
        if clocks is None or not loops:
            return
        from sojourn.sdk import loop_clock

        wall, monotonic = clocks
        # Another node's wall clock may be behind: a loop's clock never goes back.
        stood_still = max(time.time() - wall, 0.0) - (time.monotonic() - monotonic)
        for watch in watches:
            watch.thawed()
        for each in loops:
            loop_clock.shift(each, stood_still)

    def wake(self) -> None:
        """Has every thread that waits look around: an exception may be on its way to it."""
        with self._lock:
            woken = {*self._pending.values(), *([self._own] if self._own is not None else [])}
        for group in woken:
            group.wake()
        for latch in tuple(self._naps):
            latch.release()

    def close(self) -> None:
        """The attempt is over; what still waits in other threads gets an error."""
        self._is_over = True
        with self._lock:
            left = list(self._pending)
        self.fail(left, OutsideRunError("the attempt that waited is over"))
        for watch in self._watches.values():
            watch.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # --- for the watch over an event loop

    def tell(self, *, blocked: bool | None) -> None:
        """Tells what is new: waits, whether the process is blocked, and by what. Nothing new is not told.

        `blocked` None: by code that does not decide about that, so that it stays as it is.
        """
        with self._telling:
            with self._lock:
                if blocked is None:
                    blocked = self._own is not None or self._block is not None
                block = self._need() if blocked and self._pending else None
                pending = list(self._pending)
                changed = block != self._block or (block is not None and pending != self._told)
                if not self._unsent and not changed:
                    return
                waits, self._unsent = self._unsent, []
                self._block, self._told = block, pending
                if block is not None:
                    self._clocks = time.time(), time.monotonic()
            self._port.tell(waits, pending, block)

    @property
    def is_blocked(self) -> bool:
        """Whether the platform was told so last."""
        return self._block is not None

    @property
    def has_unsent(self) -> bool:
        """Whether waits were not told yet."""
        return bool(self._unsent)

    @property
    def counts_timers(self) -> bool:
        """Whether a loop's timers can be waited for, as dates. In a test time does not pass for them."""
        return not self._port.is_played

    def begin_timer(self, seconds: float, wake: Callable[[], None]) -> Group:
        """A wait for the moment at which a loop has a timer, which no code waits for as such."""
        from sojourn.sdk.conditions import Date

        group = Group("any", [Date(seconds=min(seconds, _FAR))], wake)
        self._register(group, is_codes=False)
        return group

    def forget(self, group: Group) -> None:
        """Nobody waits for the rest of the group any more."""
        with self._lock:
            for key in group.keys:
                if self._pending.get(key) is group:
                    del self._pending[key]
            self._unsent = [wait for wait in self._unsent if wait["key"] not in group.keys]

    # --- inside

    def _wait(self, need: Need, conditions: Sequence[Condition], *, is_own: bool) -> Group:
        latch = Latch()
        group = Group(need, conditions, latch.release)
        try:
            if is_own:
                self._own = group
                for watch in tuple(self._watches.values()):
                    watch.forget_timer()  # no loop runs in this thread, and others' timers are not waited for
            self._register(group)
            while not group.is_over:
                self.tell(blocked=True if is_own else None)
                latch.wait()
        finally:
            self.forget(group)
            if is_own:
                self._own = None
                if self._block is not None:  # an exception has ended it: the process goes on
                    self.tell(blocked=False)
        if group.error is not None:
            raise group.error
        return group

    def _register(self, group: Group, *, is_codes: bool = True) -> None:
        now = self.now()
        wires = [condition.wire(now) for condition in group.conditions]
        for condition in group.conditions if is_codes else ():
            self._port.begin(condition)
        with self._lock:
            if self._is_over:
                raise OutsideRunError("the attempt that this code belongs to is over")
            for index, wire in enumerate(wires):
                self._count += 1
                key = f"{self._number}:{self._count}"
                group.keys[key] = index
                self._pending[key] = group
                self._unsent.append({"key": key, **wire})

    def _need(self) -> Need:
        """`all` only where everything that is pending belongs to one call that needs all of it."""
        groups = set(self._pending.values())
        return "all" if len(groups) == 1 and len(self._pending) > 1 and groups.pop().need == "all" else "any"

    def _watch(self, loop: Any) -> LoopWatch:
        from sojourn.sdk.loop_watch import LoopWatch

        watch = self._watches.get(id(loop))
        if watch is None:
            for name, each in tuple(self._watches.items()):
                if each.loop.is_closed():
                    each.forget_timer()
                    del self._watches[name]
            watch = self._watches[id(loop)] = LoopWatch(self, loop, is_own=self._interrupt.is_here)
        return watch


#: Seconds: a year. A timer that is further away wakes its loop in vain.
_FAR = 366 * 86_400.0
#: HTTP calls that code in an event loop has under way at once; the next ones wait.
_CALLS = 8
