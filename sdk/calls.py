"""Calling user code: `def` and `async def` alike, in one event loop an attempt, stopped by the attempt's interrupt."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from typing import Any

    from sojourn.sdk.interrupt import Interrupt


class Calls:
    """The calls of one attempt. The event loop is made for the first coroutine and closed by `close`."""

    def __init__(self, interrupt: Interrupt):
        self._interrupt = interrupt
        self._runner: asyncio.Runner | None = None
        #: The attempt's event loop, once it has come to a coroutine.
        self.loop: asyncio.AbstractEventLoop | None = None

    def step(self, function: Callable[..., Any], named: Mapping[str, Any], *arguments: Any) -> Any:
        """Calls what a cancelled attempt does not begin any more."""
        self._interrupt.check()
        return self._call(function, named, arguments, stops=True)

    def call(self, function: Callable[..., Any], named: Mapping[str, Any], *arguments: Any) -> Any:
        """Calls what always begins, such as clean-up."""
        return self._call(function, named, arguments, stops=False)

    def close(self) -> None:
        """Ends the event loop, if there was one."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def _call(
        self, function: Callable[..., Any], named: Mapping[str, Any], arguments: tuple[Any, ...], *, stops: bool
    ) -> Any:
        value = function(*arguments, **named)
        if type(value).__name__ != "coroutine":
            return value
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
            self.loop = self._runner.get_loop()
        self._interrupt.entering_loop()
        try:
            return self._runner.run(self._tracked(value, stops))
        except asyncio.CancelledError:
            self._interrupt.check()
            raise RuntimeError("the task's coroutine was cancelled by its own code") from None
        finally:
            self._interrupt.left_loop()
            value.close()

    async def _tracked(self, value: Any, stops: bool) -> Any:
        import asyncio

        self._interrupt.in_coroutine(asyncio.current_task())
        try:
            if stops:
                self._interrupt.check()
            return await value
        finally:
            self._interrupt.in_coroutine(None)


def call_apart(function: Callable[..., Any], named: Mapping[str, Any]) -> None:
    """Calls a function in a thread of its own; a coroutine gets an event loop of its own."""
    value = function(**named)
    if type(value).__name__ == "coroutine":
        import asyncio

        asyncio.run(value)
