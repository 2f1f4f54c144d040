"""Middleware: a generator function around an attempt. What is before its `yield` runs first, what is after, last."""

from __future__ import annotations

from sojourn.sdk.hooks import fitting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Literal

    from sojourn.sdk.hooks import Hook

_END = object()


class MiddlewareError(Exception):
    """A middleware failed, not the task; its cause says how."""


class Around:
    """A context manager made of one middleware. `call` runs coroutines for one that is `async def`.

    As in any `with` block, a middleware that catches the task's error and ends normally has dealt with it.
    """

    def __init__(self, hook: Hook, offered: Mapping[str, Any], call: Callable[..., Any]):
        self._hook, self._offered, self._call = hook, offered, call

    def __enter__(self) -> None:
        try:
            self._steps = self._hook(**fitting(self._hook, self._offered))
            self._is_async = hasattr(self._steps, "__anext__")
            if not self._is_async and not hasattr(self._steps, "throw"):
                raise TypeError(f"the middleware {self._name} has no `yield` where the task runs")
            if self._advance() is _END:
                raise RuntimeError(f"the middleware {self._name} ended before its `yield`")
        except Exception as error:
            raise MiddlewareError from error

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is not None:
            return self._fail(error)
        try:
            if self._advance() is not _END:
                raise self._twice()
        except Exception as own:
            raise MiddlewareError from own
        return False

    def _fail(self, error: BaseException) -> Literal[True, False]:
        try:
            ended = self._advance(error) is _END
        except BaseException as raised:
            if raised is error:
                return False
            raise
        if not ended:
            raise MiddlewareError from self._twice()
        return True

    def _advance(self, error: BaseException | None = None) -> Any:
        """The next step of the generator; _END where it is over."""
        if self._is_async:
            return self._call(self._advance_async, {}, error)
        try:
            return next(self._steps) if error is None else self._steps.throw(error)
        except StopIteration as stop:
            if stop is error:
                raise
            return _END

    async def _advance_async(self, error: BaseException | None) -> Any:
        try:
            return await (self._steps.__anext__() if error is None else self._steps.athrow(error))
        except StopAsyncIteration:
            return _END

    def _twice(self) -> RuntimeError:
        return RuntimeError(f"the middleware {self._name} has more than one `yield`")

    @property
    def _name(self) -> str:
        return getattr(self._hook, "__name__", repr(self._hook))
