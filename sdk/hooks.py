"""Hooks: functions that run around attempts, for one task or for the whole project, with the arguments they ask for."""

from __future__ import annotations

import sys

from sojourn.sdk.signature import signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Hook = Callable[..., Any]

NAMES = (
    "on_start_attempt", "on_success", "on_failure", "on_complete", "on_cancel", "on_wait", "on_resume", "on_end",
    "catch_error", "middleware",
)  # fmt: skip


class Hooks:
    """Registered hooks by name, in the order of registration.

    `places`: of each, the files that were being imported when it was registered, innermost first.
    """

    def __init__(self, given: Mapping[str, Any] | None = None):
        self._hooks: dict[str, list[Hook]] = {name: [] for name in NAMES}
        self.places: list[list[str]] = []
        for name, hooks in (given or {}).items():
            for hook in hooks if isinstance(hooks, list | tuple) else [hooks]:
                self.add(name, hook)

    def add(self, name: str, hook: Hook) -> Hook:
        """Registers a hook; usable as a decorator's last step. Twice is once."""
        if not callable(hook):
            raise TypeError(f"{name} takes a function, not {hook!r}")
        if hook not in self._hooks[name]:
            self._hooks[name].append(hook)
            self.places.append(_being_imported())
        return hook

    def of(self, name: str) -> list[Hook]:
        """The hooks of that name."""
        return self._hooks[name]

    def clear(self) -> None:
        """Forgets all: for tests and for a fresh index."""
        self.places.clear()
        for hooks in self._hooks.values():
            hooks.clear()


def _being_imported() -> list[str]:
    """The files whose top level waits for this call."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            found.append(frame.f_code.co_filename)
        frame = frame.f_back  # type: ignore[assignment]
    return found


class Decorators:
    """`@holder.on_success` and its like: each registers a function and gives it back."""

    def __init__(self, hooks: Hooks):
        self.hooks = hooks

    def on_start_attempt(self, hook: Hook) -> Hook:
        """Before each attempt; raising fails the attempt. Gets payload, ctx, signal."""
        return self.hooks.add("on_start_attempt", hook)

    def on_success(self, hook: Hook) -> Hook:
        """After the run succeeded. Gets payload, ctx, signal, output."""
        return self.hooks.add("on_success", hook)

    def on_failure(self, hook: Hook) -> Hook:
        """After the run's last attempt failed. Gets payload, ctx, signal, error."""
        return self.hooks.add("on_failure", hook)

    def on_complete(self, hook: Hook) -> Hook:
        """After either. Gets payload, ctx, signal, result (a TaskResult)."""
        return self.hooks.add("on_complete", hook)

    def on_cancel(self, hook: Hook) -> Hook:
        """While an attempt is being cancelled, 30 s at most. Gets payload, ctx, signal, reason."""
        return self.hooks.add("on_cancel", hook)

    def on_wait(self, hook: Hook) -> Hook:
        """Before the process has nothing to do but wait; raising fails the wait. Gets payload, ctx, signal, wait."""
        return self.hooks.add("on_wait", hook)

    def on_resume(self, hook: Hook) -> Hook:
        """When it goes on after that; raising fails the wait. Gets payload, ctx, signal, wait."""
        return self.hooks.add("on_resume", hook)

    def on_end(self, hook: Hook) -> Hook:
        """When the run's end is stored, whichever it is, in a run of its own. Gets payload, ctx, signal, end (a RunEnd)."""
        return self.hooks.add("on_end", hook)

    def catch_error(self, hook: Hook) -> Hook:
        """After a failed attempt, to decide about the next. Gets payload, ctx, signal, error."""
        return self.hooks.add("catch_error", hook)

    def middleware(self, hook: Hook) -> Hook:
        """A generator function (`def` or `async def`) around each attempt: the task runs at its one `yield`."""
        return self.hooks.add("middleware", hook)


def fitting(hook: Hook, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the offered keyword arguments that the hook's signature names (all of them, if it takes **kwargs)."""
    asked = signature(hook)
    if asked.takes_any:
        return dict(offered)
    return {name: offered[name] for name in (*asked.positional, *asked.keyword_only) if name in offered}
