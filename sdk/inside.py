"""Whether this code is in an event loop, and waiting in either kind of code."""

from __future__ import annotations

import sys

from sojourn.sdk import context
from sojourn.sdk.errors import OutsideRunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from typing import Any

    from sojourn.sdk.conditions import Condition
    from sojourn.sdk.waiting import Group, Need, Waiting


def in_loop() -> bool:
    """Whether an event loop runs in this thread: then what waits gives an awaitable."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def current(what: str) -> Waiting:
    """What waits in the run that this code is in; `what` is for the error outside of one."""
    context_here = context.inside()
    if context_here is None:
        raise OutsideRunError(
            f"{what} works only inside a run: call it in a task, and the task by its trigger or, in a test, by"
            " sojourn.testing.run(...)"
        )
    return context_here.waiting


def wait_for(waiting: Waiting, need: Need, conditions: Sequence[Condition], read: Callable[[Group], Any]) -> Any:
    """What `read` makes of the group, when it is over; in an event loop an awaitable of it."""
    if not in_loop():
        return read(waiting.wait(need, conditions))

    async def wait() -> Any:
        return read(await waiting.wait_in_loop(need, conditions))

    return wait()


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls what blocks; in an event loop an awaitable, and the call goes to a thread."""
    if not in_loop():
        return function(*arguments)
    return apart(function, *arguments)


def blocking(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls what blocks; in the event loop of a run, an awaitable. An app's call blocks, whatever it is in."""
    return function(*arguments) if context.inside() is None else call(function, *arguments)


async def each(pages: Iterator[Sequence[Any]]) -> AsyncIterator[Any]:
    """What is on pages, each of which is asked for in a thread."""
    while (page := await apart(next, pages, None)) is not None:
        for item in page:
            yield item


async def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls what blocks in a thread."""
    import asyncio

    here = context.inside()
    if here is not None and here.can_wait:
        return await here.waiting.apart(function, *arguments)
    return await asyncio.to_thread(function, *arguments)
