"""`deployments`: the versions of an environment, and which of them new runs start on.

In `async def` code (where an event loop runs in this thread) each call gives an awaitable, the list an async iterator.
"""

from __future__ import annotations

from sojourn.sdk import inside, pages
from sojourn.sdk.named import id_of
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
    from datetime import datetime, timedelta
    from typing import Any

    from sojourn.sdk.client import Client


class DeploymentState(Value):
    """A version. `version`: its number, as in 20260131.2. `short_code`: the beginning of its content's hash.

    None is what the call does not tell: `tasks`, their ids, of a version that is looked at by itself; `deployed_at`, and
    `is_current` (new runs start on it), of one in the list, or the current one.
    """

    __slots__ = ("deployed_at", "id", "is_current", "raw", "short_code", "tasks", "version")
    id: str
    version: str
    short_code: str
    deployed_at: datetime | None
    is_current: bool | None
    tasks: tuple[str, ...] | None
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From what the API tells of a version; `raw` keeps what has no field here."""
        from datetime import datetime

        deployed = wire.get("deployedAt")
        tasks = wire["tasks"] if "tasks" in wire else wire.get("worker", {}).get("tasks")
        self._keep(
            wire["id"], wire["version"], wire["shortCode"], datetime.fromisoformat(deployed) if deployed else None,
            wire.get("isCurrent"), None if tasks is None else tuple(each.get("slug") or each["id"] for each in tasks), wire,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, DeploymentState]: ...


if TYPE_CHECKING:

    class DeploymentStates(Iterator[DeploymentState]):
        """What `deployments.list` gives: an iterator, or in `async def` code an async iterator."""

        def __next__(self) -> DeploymentState: ...
        def __aiter__(self) -> AsyncIterator[DeploymentState]: ...


class Deployments:
    """`sojourn.deployments` uses the process's client, `Deployments(client)` another."""

    def __init__(self, client: Client | None = None):
        self._given = client

    def list(self, *, period: str | float | timedelta | None = None, limit: int | None = None) -> DeploymentStates:
        """Versions, newest first, page after page as they are asked for. `period`: only those of the last so long."""
        given = {} if period is None else {"period": _period(period)}
        listed: DeploymentStates = pages.listed(
            pages.following(lambda query: self._client().list_deployments(query), DeploymentState, limit, given)
        )
        return listed

    def current(self) -> DeploymentState:
        """The version that new runs start on. NotFoundError where nothing is deployed."""
        return self._call(lambda client: client.current_deployment())

    def retrieve(self, version: DeploymentState | str) -> DeploymentState:
        """A version, by its number or its id."""
        return self._call(lambda client: client.retrieve_deployment(_name(version)))

    def promote(self, version: DeploymentState | str, *, rollback: bool = False) -> DeploymentState:
        """Lets new runs start on a version. `rollback`: also on one that is older than the current one."""
        return self._call(lambda client: client.promote_deployment(_name(version), rollback))

    def _call(self, ask: Callable[[Client], Mapping[str, Any]]) -> DeploymentState:
        state: DeploymentState = inside.call(lambda: DeploymentState(ask(self._client())))
        return state

    def _client(self) -> Client:
        from sojourn.sdk.default_client import default

        return self._given or default()


def _name(version: DeploymentState | str) -> str:
    return id_of(version, "version")


def _period(value: str | float | timedelta) -> str:
    from sojourn.sdk.durations import seconds

    return value if isinstance(value, str) else f"{seconds(value)}s"


deployments = Deployments()
