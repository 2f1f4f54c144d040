"""`idempotency_keys`: keys that say themselves how far they hold: for a run, for one attempt of it, or for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sojourn.sdk.context import inside
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.value import Value

Scope = Literal["run", "attempt", "global"]
_SCOPES = ("run", "attempt", "global")


class IdempotencyKey(Value):
    """`hash` is what the platform compares, `key` what its user wrote; `scope`: how far it holds."""

    __slots__ = ("hash", "key", "scope")
    hash: str
    key: str
    scope: Scope

    def __init__(self, hash: str, key: str, scope: Scope):
        self._keep(hash, key, scope)

    def __str__(self) -> str:
        return self.hash

    def to_wire(self) -> dict[str, Any]:
        """As the options of a trigger have it."""
        return {"idempotencyKey": self.hash, "idempotencyKeyOptions": {"key": self.key, "scope": self.scope}}


#: Types whose values every process writes in one way, by name: to import them would cost each start. A set, for example,
#: is written in another order each time.
_PLAIN = frozenset({"datetime.date", "datetime.datetime", "decimal.Decimal", "uuid.UUID"})


def key_text(key: Any) -> str:
    """A key as it is sent: its text, or its parts with dashes between. `ConfigurationError` for what has no one text."""
    parts = key if isinstance(key, list | tuple) else [key]
    for part in parts:
        kind = type(part)
        if (
            not isinstance(part, str | int | float | IdempotencyKey)
            and f"{kind.__module__}.{kind.__qualname__}" not in _PLAIN
        ):
            raise ConfigurationError(
                f"{part!r:.80} is no part of an idempotency key: give a text, or a list of texts, numbers, dates or UUIDs"
            )
    return "-".join(map(str, parts))


class IdempotencyKeys:
    """Makes them. Outside a run every key holds for everybody, whatever its scope."""

    def create(self, key: str | Sequence[Any], scope: Scope = "run") -> IdempotencyKey:
        """A key out of a text or of parts. `run`: for the run that makes it; `attempt`: for its attempt; `global`."""
        from hashlib import sha256

        if scope not in _SCOPES:
            raise ConfigurationError(f"there is no scope {scope!r}: there are {', '.join(_SCOPES)}")
        written = key_text(key)
        parts, current = [written], inside()
        if current is not None and scope != "global":
            parts.append(current.run.id)
            if scope == "attempt":
                parts.append(str(current.attempt.number))
        return IdempotencyKey(sha256("-".join(parts).encode("utf-8", "surrogatepass")).hexdigest(), written, scope)


idempotency_keys = IdempotencyKeys()
