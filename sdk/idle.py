"""Whether an event loop can be woken by nothing but certain futures and its timers: what its tasks wait for is looked at,
not guessed.

asyncio does not tell what a task waits for; its private attributes do. Where one is missing, or a task waits for what is
not known here, the answer is no: a process that is not taken for blocked keeps its place, which breaks nothing.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from types import CoroutineType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_MISSING: Any = object()
#: Coroutines that a task may be deep in before it is not looked at further.
_DEPTH = 1_000


def selector_of(loop: asyncio.AbstractEventLoop) -> Any:
    """The selector that a loop sleeps in, if its `select` can be stood before; else None."""
    if not isinstance(loop, asyncio.SelectorEventLoop):
        return None
    selector = getattr(loop, "_selector", None)
    has_own = hasattr(selector, "__dict__") and callable(getattr(selector, "select", None))
    return selector if has_own and hasattr(selector, "get_map") else None


def earliest_timer(loop: asyncio.AbstractEventLoop) -> float | None:
    """When the first timer of a loop that is about to sleep is due, by the loop's clock; None if that cannot be seen."""
    scheduled = getattr(loop, "_scheduled", None)
    return float(scheduled[0].when()) if scheduled else None


def has_ready(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop has something to do at once, apart from timers that are due."""
    return bool(getattr(loop, "_ready", True) or getattr(loop, "_stopping", True))


def is_idle(loop: asyncio.AbstractEventLoop, futures: Iterable[asyncio.Future[Any]]) -> bool:
    """Whether every task of a loop waits, in the end, for a timer or for some of the futures, which are not done."""
    ours = set(futures)
    if any(future.done() for future in ours):
        return False
    tasks = asyncio.all_tasks(loop)
    known: set[Any] = ours | tasks | _slept(loop)
    is_alone: list[bool] = []  # asked once, and only where it matters

    def nobody_else() -> bool:
        if not is_alone:
            is_alone.append(_nobody_else(loop))
        return is_alone[0]

    for task in tasks:
        waiter = getattr(task, "_fut_waiter", _MISSING)
        if waiter is _MISSING or waiter is None:
            return False
        if _is_fed(waiter, known):
            continue
        where = _innermost(task)
        if where is None:
            return False
        file, function, names = where
        if file == asyncio.tasks.__file__ and function == "_wait":
            if "fs" in names and all(_is_fed(each, known) for each in names["fs"]):
                continue
            return False
        if file == asyncio.tasks.__file__ and function in _WITHIN_A_TIME:
            if "fut" in names and _is_fed(names["fut"], known):
                continue  # else what it waits for may come before the timer
            return False
        if file == _TASK_GROUPS:
            continue  # it waits for its tasks
        if file == _LOCKS and function == "acquire":
            continue  # the task that has it must release it, and that waits
        if file == _QUEUES and _is_of_as_completed(names.get("self"), known):
            continue
        if file in (_LOCKS, _QUEUES) and nobody_else():
            continue  # another task of this loop must wake it, and all of them wait
        return False
    return True


_LOCKS = sys.modules["asyncio.locks"].__file__
_QUEUES = sys.modules["asyncio.queues"].__file__
#: `asyncio.wait_for` of Python 3.11 waits for a future that its timer or what it waits for sets; later ones wait directly.
_WITHIN_A_TIME = ("wait_for", "_cancel_and_wait")
#: What the timer of an `asyncio.sleep` calls; nothing else knows the future that it is called with.
_END_OF_SLEEP = getattr(asyncio.futures, "_set_result_unless_cancelled", _MISSING)
_TASK_GROUPS = getattr(sys.modules.get("asyncio.taskgroups"), "__file__", None)


def _slept(loop: Any) -> set[Any]:
    """The futures that `asyncio.sleep` waits for."""
    timers = getattr(loop, "_scheduled", ())
    return {
        timer._args[0]
        for timer in timers
        if not timer.cancelled() and timer._args and getattr(timer, "_callback", None) is _END_OF_SLEEP
    }


def _is_fed(future: Any, known: set[Any]) -> bool:
    """Whether a future is done, a known one, or one of `gather` or `shield` that waits for such alone."""
    if future in known or future.done():
        return True
    children = getattr(future, "_children", None)
    if children is not None:
        return all(_is_fed(child, known) for child in children)
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") == "shield.<locals>._outer_done_callback":
            inner = _captured(callback, "inner")
            return inner is not None and _is_fed(inner, known)
    return False


def _is_of_as_completed(queue: Any, known: set[Any]) -> bool:
    """Whether a queue is the one inside `as_completed`, which is filled by futures that wait for known ones only."""
    for future in known:
        for callback, _ in getattr(future, "_callbacks", None) or ():
            if getattr(callback, "__qualname__", "") == "as_completed.<locals>._on_completion":
                todo = _captured(callback, "todo")
                if _captured(callback, "done") is queue and todo is not None:
                    return all(_is_fed(each, known) for each in todo)
    return False


def _captured(function: Any, name: str) -> Any:
    names = function.__code__.co_freevars
    return function.__closure__[names.index(name)].cell_contents if name in names else None


def _innermost(task: asyncio.Task[Any]) -> tuple[str, str, dict[str, Any]] | None:
    """The file, the name and the variables of the coroutine that a task has come to."""
    coroutine: Any = task.get_coro()
    for _ in range(_DEPTH):
        if not isinstance(coroutine, CoroutineType) or coroutine.cr_frame is None:
            return None
        inner = coroutine.cr_await
        if not isinstance(inner, CoroutineType):
            frame = coroutine.cr_frame
            return frame.f_code.co_filename, frame.f_code.co_name, frame.f_locals
        coroutine = inner
    return None


def _nobody_else(loop: Any) -> bool:
    """Whether neither another thread nor a descriptor could wake the loop: of those it has its own only."""
    own = getattr(loop, "_ssock", None)
    descriptors = set(loop._selector.get_map()) - ({own.fileno()} if own is not None else set())
    return not descriptors and not _other_threads()


def _other_threads() -> list[threading.Thread]:
    """Threads of the user's. Another main thread than this one is that of a test."""
    ours = (threading.current_thread(), threading.main_thread())
    return [each for each in threading.enumerate() if each not in ours and not each.name.startswith("sojourn-")]
