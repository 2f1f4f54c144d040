"""`bulk_actions`: how far the cancelling or replaying of many runs has come.

`runs.bulk_cancel` and `runs.bulk_replay` begin one. In `async def` code (where an event loop runs in this thread) each call
gives an awaitable, a list an async iterator.
"""

from __future__ import annotations

from sojourn.sdk import inside, pages
from sojourn.sdk.looks import Looks
from sojourn.sdk.named import id_of
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
    from datetime import datetime
    from typing import Any

    from sojourn.sdk.client import Client


class BulkActionState(Value):
    """A bulk action as it stands. `type`: CANCEL or REPLAY; `status`: PENDING, COMPLETED or ABORTED; dates are aware.

    `total`: runs that there are to act on, 0 until they are counted; `succeeded` and `failed` of them are done. Failed are
    runs that were over already, or are not there, and those of which no replay could be made.
    """

    __slots__ = ("completed_at", "created_at", "failed", "id", "name", "raw", "status", "succeeded", "total", "type")
    id: str
    type: str
    status: str
    name: str | None
    total: int
    succeeded: int
    failed: int
    created_at: datetime
    completed_at: datetime | None
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From the API's BulkActionReply; `raw` keeps what has no field here."""
        from datetime import datetime

        counts, completed = wire["counts"], wire.get("completedAt")
        self._keep(
            wire["id"], wire["type"], wire["status"], wire.get("name"), counts["total"], counts["success"],
            counts["failure"], datetime.fromisoformat(wire["createdAt"]),
            datetime.fromisoformat(completed) if completed else None, wire,
        )  # fmt: skip

    @property
    def is_over(self) -> bool:
        """Whether no run is acted on any more."""
        return self.status != "PENDING"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, BulkActionState]: ...


if TYPE_CHECKING:

    class BulkActionStates(Iterator[BulkActionState]):
        """What `bulk_actions.list` gives: an iterator, or in `async def` code an async iterator."""

        def __next__(self) -> BulkActionState: ...
        def __aiter__(self) -> AsyncIterator[BulkActionState]: ...


class BulkActions:
    """`sojourn.bulk_actions` uses the process's client, `BulkActions(client)` another."""

    def __init__(self, client: Client | None = None):
        self._given = client

    def retrieve(self, action: BulkActionState | str) -> BulkActionState:
        """An action as it stands."""
        state: BulkActionState = inside.call(self._look, _id(action))
        return state

    def abort(self, action: BulkActionState | str) -> Awaitable[None]:
        """Begins no run any more; those that were acted on stay so."""
        return inside.call(self._abort, _id(action))

    def list(self, *, limit: int | None = None) -> BulkActionStates:
        """Actions, newest first, page after page as they are asked for."""
        found = pages.following(lambda query: self._client.list_bulk_actions(query), BulkActionState, limit)
        listed: BulkActionStates = pages.listed(found)
        return listed

    def wait(
        self,
        action: BulkActionState | str,
        timeout: float | None = None,
        *,
        on_progress: Callable[[BulkActionState], object] | None = None,
    ) -> BulkActionState:
        """Waits until an action is over, or so many seconds; it as it stands then. Each look is given to `on_progress`."""
        state: BulkActionState = inside.call(self._wait, _id(action), timeout, on_progress)
        return state

    def _look(self, action_id: str) -> BulkActionState:
        return BulkActionState(self._client.retrieve_bulk_action(action_id))

    def _abort(self, action_id: str) -> None:
        self._client.abort_bulk_action(action_id)

    def _wait(
        self, action_id: str, timeout: float | None, on_progress: Callable[[BulkActionState], object] | None
    ) -> BulkActionState:
        looks = Looks(timeout, on_progress)
        while (pause := looks.pause(state := self._look(action_id))) is not None:
            self._client.sleep(pause)
        return state

    @property
    def _client(self) -> Client:
        from sojourn.sdk.default_client import default

        return self._given or default()


def _id(action: BulkActionState | str) -> str:
    return id_of(action, "bulk action")


bulk_actions = BulkActions()
