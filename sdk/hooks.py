"""Hooks: functions that run around attempts, for one task or for the whole project, with the arguments they ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

NAMES = ("on_start_attempt", "on_success", "on_failure", "on_complete", "on_cancel", "catch_error", "middleware")
Hook = Callable[..., Any]


class Hooks:
    """Registered hooks by name, in the order of registration."""

    def __init__(self, given: Mapping[str, Any] | None = None):
        self._hooks: dict[str, list[Hook]] = {name: [] for name in NAMES}
        for name, hooks in (given or {}).items():
            for hook in hooks if isinstance(hooks, list | tuple) else [hooks]:
                self.add(name, hook)

    def add(self, name: str, hook: Hook) -> Hook:
        """Registers a hook; usable as a decorator's last step."""
        if not callable(hook):
            raise TypeError(f"{name} takes a function, not {hook!r}")
        self._hooks[name].append(hook)
        return hook

    def of(self, name: str) -> list[Hook]:
        """The hooks of that name."""
        return self._hooks[name]

    def clear(self) -> None:
        """Forgets all: for tests and for a fresh index."""
        for hooks in self._hooks.values():
            hooks.clear()


def fitting(hook: Hook, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the offered keyword arguments that the hook's signature names (all of them, if it takes **kwargs)."""
    parameters = inspect.signature(hook).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(offered)
    return {parameter.name: offered[parameter.name] for parameter in parameters if parameter.name in offered}


def decorators(hooks: Hooks) -> Iterator[tuple[str, Callable[[Hook], Hook]]]:
    """A decorator for each name."""
    for name in NAMES:
        yield name, lambda hook, name=name: hooks.add(name, hook)  # type: ignore[misc]
