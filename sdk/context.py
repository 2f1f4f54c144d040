"""What a task may know of the run it is in, and values that last as long as the attempt."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from sojourn.sdk.errors import OutsideRunError

T = TypeVar("T")


class Fields:
    """A part of the context: its fields as attributes, in snake_case; one that is absent is None."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = {_snake(name): Fields(v) if isinstance(v, dict) else v for name, v in values.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._values.get(name)

    def __repr__(self) -> str:
        return f"Fields({self._values!r})"


class RunContext:
    """The context of one attempt: run, attempt, task, queue, environment, organization, project, machine, deployment.

    `signal` is an Event that is set when the run is cancelled.
    """

    def __init__(self, assignment: Mapping[str, Any]):
        given = dict(assignment.get("run", {}))
        given.pop("payload", None)
        self.run = Fields(given)
        for name in ("attempt", "task", "queue", "environment", "organization", "project", "machine", "deployment"):
            setattr(self, name, Fields(assignment.get(name) or {}))
        self.signal = threading.Event()
        self._locals: dict[Any, Any] = {}


class _Current:
    """Holds the one context of this process: an executor runs one run at a time."""

    context: RunContext | None = None


def enter(context: RunContext | None) -> None:
    """Sets the context that `context` and `locals` speak of; None outside a run."""
    _Current.context = context


def inside() -> RunContext | None:
    """The context, or None outside a run."""
    return _Current.context


class ContextProxy:
    """`context.run.id`, `context.attempt.number` … of the run that this code is in."""

    def __getattr__(self, name: str) -> Any:
        if _Current.context is None:
            raise OutsideRunError(f"context.{name} exists only inside a run; in a test use sojourn.testing.run(...)")
        return getattr(_Current.context, name)

    def __repr__(self) -> str:
        return f"<context of {_Current.context.run.id if _Current.context else 'no run'}>"


class Key(Generic[T]):
    """Names a value of a type in `locals`."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


class Locals:
    """Values that middleware, hooks and the task share during one attempt; the next run starts empty."""

    def create(self, name: str) -> Key[Any]:
        """A new key."""
        return Key(name)

    def set(self, key: Key[T], value: T) -> T:
        """Keeps a value until the attempt ends."""
        self._store()[key] = value
        return value

    def get(self, key: Key[T], default: T | None = None) -> T | None:
        """The value, or `default`."""
        return self._store().get(key, default)

    def require(self, key: Key[T]) -> T:
        """The value; `OutsideRunError` if nobody set it."""
        store = self._store()
        if key not in store:
            raise OutsideRunError(f"locals has no {key.name!r} in this attempt: set it in a middleware or a hook")
        value: T = store[key]
        return value

    @staticmethod
    def _store() -> dict[Any, Any]:
        if _Current.context is None:
            raise OutsideRunError("locals exist only inside a run")
        return _Current.context._locals


def _snake(name: str) -> str:
    return "".join("_" + char.lower() if char.isupper() else char for char in name)


context = ContextProxy()
locals = Locals()
