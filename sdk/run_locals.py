"""`locals`: values that middleware, hooks and the task share during one attempt; the next run starts empty."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from sojourn.sdk.context import inside
from sojourn.sdk.errors import OutsideRunError

T = TypeVar("T")


class Key(Generic[T]):
    """Names a value in `locals`; two keys of one name are two keys."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


class Locals:
    """A store for each attempt."""

    def create(self, name: str, kind: type[T] | None = None) -> Key[T]:
        """A new key. `kind` is for type checkers: `locals.create("db", Connection)` is a key of a Connection."""
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
        context = inside()
        if context is None:
            raise OutsideRunError("locals exist only inside a run; in a test use sojourn.testing.run(...)")
        return context.locals


locals = Locals()
