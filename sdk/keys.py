"""`keys`: the environment's secret keys, for whoever holds one that may manage them.

In `async def` code (where an event loop runs in this thread) each call gives an awaitable.
"""

from __future__ import annotations

from sojourn.sdk import inside
from sojourn.sdk.named import id_of
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from datetime import datetime, timedelta
    from typing import Any

    from sojourn.sdk.auth import Scopes
    from sojourn.sdk.client import Client


class KeyState(Value):
    """A secret key as it stands. `status`: ACTIVE, REPLACED (it opens until `expires_at`), EXPIRED or REVOKED.

    `scopes` None: it may do everything. `secret`: only of a key that was made by this call. `hint`: its beginning and end.
    """

    __slots__ = (
        "created_at", "expires_at", "hint", "id", "is_root", "last_used_at", "name", "raw", "scopes", "secret", "status",
    )  # fmt: skip
    id: str
    hint: str
    status: str
    is_root: bool
    name: str | None
    scopes: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    secret: str | None
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From the API's KeyReply; `raw` keeps what has no field here."""
        from datetime import datetime

        def date(name: str) -> datetime | None:
            return datetime.fromisoformat(wire[name]) if wire.get(name) else None

        scopes = wire.get("scopes")
        self._keep(
            wire["id"], wire["hint"], wire["status"], bool(wire["isRoot"]), wire.get("name"),
            None if scopes is None else tuple(scopes), date("createdAt"), date("expiresAt"), date("lastUsedAt"),
            wire.get("key"), wire,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"KeyState(id={self.id!r}, hint={self.hint!r}, status={self.status!r})"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, KeyState]: ...


class KeyStates(list["KeyState"]):
    """An environment's keys, root keys first."""

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, KeyStates]: ...


class Keys:
    """`sojourn.keys` uses the process's client, `Keys(client)` another."""

    def __init__(self, client: Client | None = None):
        self._given = client

    def list(self) -> KeyStates:
        """The keys that open, and those that ended within 30 days."""
        listed: KeyStates = inside.call(lambda: KeyStates(KeyState(each) for each in self._client().list_keys()["data"]))
        return listed

    def create(
        self,
        name: str | None = None,
        *,
        scopes: Scopes | None = None,
        expires: str | float | timedelta | datetime | None = None,
    ) -> KeyState:
        """A new key, whose `secret` is shown this once. `scopes` absent: it may do everything."""
        from sojourn.sdk.auth import flattened, time_of

        wanted = {
            "name": name,
            "scopes": None if scopes is None else flattened(scopes),
            "expires": None if expires is None else time_of(expires),
        }
        given = {key: value for key, value in wanted.items() if value is not None}
        return self._call(lambda: self._client().create_key(given))

    def rotate(self, key: KeyState | str, *, grace_period: str | float | timedelta | None = None) -> KeyState:
        """A key in place of another, its `secret` shown this once. The old one opens for a day more, or as long as said."""
        from sojourn.sdk.trigger_options import seconds

        grace = None if grace_period is None else f"{seconds(grace_period)}s"
        return self._call(lambda: self._client().rotate_key(_id(key), grace))

    def revoke(self, key: KeyState | str) -> KeyState:
        """Ends a key at once."""
        return self._call(lambda: self._client().revoke_key(_id(key)))

    def _call(self, ask: Any) -> KeyState:
        state: KeyState = inside.call(lambda: KeyState(ask()))
        return state

    def _client(self) -> Client:
        from sojourn.sdk.default_client import default

        return self._given or default()


def _id(key: KeyState | str) -> str:
    return id_of(key, "key")


keys = Keys()
