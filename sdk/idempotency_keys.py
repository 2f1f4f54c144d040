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


class IdempotencyKeys:
    """Makes them. Outside a run every key holds for everybody, whatever its scope."""

    def create(self, key: str | Sequence[Any], scope: Scope = "run") -> IdempotencyKey:
        """A key out of a text or of parts. `run`: for the run that makes it; `attempt`: for its attempt; `global`."""
        from hashlib import sha256

        if scope not in _SCOPES:
            raise ConfigurationError(f"there is no scope {scope!r}: there are {', '.join(_SCOPES)}")
        written = key if isinstance(key, str) else "-".join(map(str, key))
        parts, current = [written], inside()
        if current is not None and scope != "global":
            parts.append(current.run.id)
            if scope == "attempt":
                parts.append(str(current.attempt.number))
        return IdempotencyKey(sha256("-".join(parts).encode()).hexdigest(), written, scope)


idempotency_keys = IdempotencyKeys()
