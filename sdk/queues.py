"""`queues`: look at queues, pause them, and give them other limits than their code declares.

In `async def` code (where an event loop runs in this thread) each call gives an awaitable, a list an async iterator.
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
    from sojourn.sdk.options import Queue
    from sojourn.sdk.task import Task

_ID = "queue_"
#: Characters of an id behind its prefix.
_ID_CHARS = 26
_OF_TASK = "task/"


class QueueKey(Value):
    """A concurrency key with something of its own: a `concurrency_limit`, a `rate` (`{limit, period, burst}`), or both.

    None: what each key of the queue has.
    """

    __slots__ = ("concurrency_key", "concurrency_limit", "overridden_at", "rate")
    concurrency_key: str
    concurrency_limit: int | None
    overridden_at: datetime | None
    rate: Mapping[str, Any] | None

    def __init__(
        self,
        concurrency_key: str,
        concurrency_limit: int | None = None,
        overridden_at: datetime | None = None,
        rate: Mapping[str, Any] | None = None,
    ):
        self._keep(concurrency_key, concurrency_limit, overridden_at, rate)


class QueueState(Value):
    """A queue as it stands. `type`: `task` for a task's own, else `custom`. `name`, which every call takes again: a task's
    own is `task/<id>`.

    `running`: runs that hold a place; `queued`: runs that wait for one. `concurrency_limit`: the limit that holds, None
    for the environment's; `base_limit`: the one that code declares; `overridden_at`: since when another one holds.
    `keys`: concurrency keys with something of their own; queues of a list are told without.
    """

    __slots__ = (
        "base_limit", "concurrency_limit", "id", "keys", "name", "overridden_at", "paused", "queued", "raw", "running",
        "type",
    )  # fmt: skip
    id: str
    name: str
    type: str
    running: int
    queued: int
    paused: bool
    concurrency_limit: int | None
    base_limit: int | None
    overridden_at: datetime | None
    keys: tuple[QueueKey, ...]
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From the API's QueueItem; `raw` keeps what has no field here."""
        limits = wire.get("concurrency") or {}
        keys = (
            QueueKey(each["concurrencyKey"], each["concurrencyLimit"], _date(each.get("overriddenAt")), each.get("rate"))
            for each in wire.get("keys", ())
        )
        self._keep(
            wire["id"], _name(wire), wire["type"], wire["running"], wire["queued"], wire["paused"],
            wire.get("concurrencyLimit"), limits.get("base"), _date(limits.get("overriddenAt")), tuple(keys), wire,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:  # in `async def` code an awaitable stands for it

        def __await__(self) -> Generator[Any, None, QueueState]: ...


if TYPE_CHECKING:

    class QueueStates(Iterator[QueueState]):
        """What `queues.list` gives: an iterator, or in `async def` code an async iterator."""

        def __next__(self) -> QueueState: ...
        def __aiter__(self) -> AsyncIterator[QueueState]: ...

    Named = Queue | Task | QueueState | str


class Queues:
    """`sojourn.queues` uses the process's client, `Queues(client)` another.

    A queue is named by its `Queue` or its state, by a task for the task's own, or by a text: a name, `task/<id>`, or an id.
    """

    def __init__(self, client: Client | None = None):
        self._given = client

    def list(self, *, limit: int | None = None) -> QueueStates:
        """Queues by their names, as they were when the first was asked for: the list is read whole before."""
        listed: QueueStates = pages.listed(
            pages.numbered(lambda number, size: self._client().list_queues(number, size), QueueState, limit)
        )
        return listed

    def retrieve(self, queue: Named) -> QueueState:
        """A queue as it stands."""
        return self._call(lambda client: client.retrieve_queue(*address(queue)))

    def pause(self, queue: Named) -> QueueState:
        """Holds the queue's runs back; those that run go on to their end."""
        return self._call(lambda client: client.pause_queue(*address(queue), paused=True))

    def resume(self, queue: Named) -> QueueState:
        """Lets a paused queue go on."""
        return self._call(lambda client: client.pause_queue(*address(queue), paused=False))

    def override_limit(
        self,
        queue: Named,
        limit: int | None = None,
        *,
        percent: float | None = None,
        concurrency_key: str | int | None = None,
    ) -> QueueState:
        """Another limit, over deployments too, until `reset_limit`: a number, or a percentage of the environment's.

        `concurrency_key`: for this key, in place of what the queue gives each; above that, or below.
        """
        if (limit is None) == (percent is None):
            raise TypeError("override_limit takes either a limit or percent=")
        given: dict[str, Any] = {"percent": percent} if limit is None else {"concurrencyLimit": limit}
        if concurrency_key is not None:
            given["concurrencyKey"] = concurrency_key
        return self._call(lambda client: client.override_queue_limit(*address(queue), given))

    def reset_limit(self, queue: Named, *, concurrency_key: str | int | None = None) -> QueueState:
        """Lets the limit hold again that code declares, or for a key the one that each has."""
        return self._call(lambda client: client.reset_queue_limit(*address(queue), concurrency_key))

    def set_rate(
        self,
        queue: Named,
        limit: int,
        per: str | float | timedelta,
        *,
        burst: int | None = None,
        per_key: bool = False,
        concurrency_key: str | int | None = None,
    ) -> QueueState:
        """Lets `limit` runs start in each period, spread evenly, but for a burst of so many at once.

        `per_key`: for each concurrency key by itself; `concurrency_key`: for this one, in place of what each has. `burst`:
        absent, as many as a second's worth, 1 at least.
        """
        from sojourn.sdk.durations import seconds

        rate: dict[str, Any] = {"limit": limit, "period": f"{seconds(per)}s", "perKey": per_key}
        if burst is not None:
            rate["burst"] = burst
        if concurrency_key is not None:
            rate["concurrencyKey"] = concurrency_key
        return self._call(lambda client: client.set_queue_rate(*address(queue), rate))

    def reset_rate(self, queue: Named, *, per_key: bool = False, concurrency_key: str | int | None = None) -> QueueState:
        """Lets as many runs start as there are, or of a key as of each."""
        return self._call(lambda client: client.reset_queue_rate(*address(queue), per_key=per_key, key=concurrency_key))

    def _call(self, ask: Callable[[Client], Mapping[str, Any]]) -> QueueState:
        state: QueueState = inside.call(lambda: QueueState(ask(self._client())))
        return state

    def _client(self) -> Client:
        from sojourn.sdk.default_client import default

        return self._given or default()


def _name(wire: Mapping[str, Any]) -> str:
    return f"{_OF_TASK}{wire['name']}" if wire["type"] == "task" else str(wire["name"])


def address(queue: Named) -> tuple[str, str]:
    """How the API is told which queue is meant: a name or an id, and which of both it is."""
    from sojourn.sdk.options import Queue

    if isinstance(queue, Queue):
        return queue.name, "custom"
    if isinstance(queue, QueueState):
        return queue.id, "id"
    if not isinstance(queue, str):
        return id_of(queue, "queue"), "task"
    if queue.startswith(_OF_TASK):
        return queue.removeprefix(_OF_TASK), "task"
    is_id = queue.startswith(_ID) and len(queue) == len(_ID) + _ID_CHARS
    return queue, "id" if is_id else "custom"


def _date(text: str | None) -> datetime | None:
    from datetime import datetime

    return datetime.fromisoformat(text) if text else None


queues = Queues()
