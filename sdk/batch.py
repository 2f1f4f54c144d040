"""`batch`: many runs asked for together, of one task or of several; looked at by their batch's id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sojourn.sdk import batch_calls
from sojourn.sdk.batch_calls import Wanted, item_of
from sojourn.sdk.batches import BatchState
from sojourn.sdk.client import Client
from sojourn.sdk.default_client import default
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.inside import blocking
from sojourn.sdk.looks import Looks
from sojourn.sdk.named import each, id_of
from sojourn.sdk.result import Results
from sojourn.sdk.surroundings import of_version
from sojourn.sdk.trigger_options import key_options

if TYPE_CHECKING:
    from collections.abc import Generator


@dataclass(frozen=True, slots=True)
class BatchHandle:
    """A batch that was triggered. `is_cached`: an idempotency key led to one that was there before.

    `public_access_token` lets a browser read this batch, and nothing else, for an hour.
    """

    id: str
    run_count: int
    is_cached: bool = False
    client: Client | None = field(default=None, repr=False, compare=False)
    public_access_token: str | None = field(default=None, repr=False, compare=False)

    def retrieve(self, *, runs: bool = True) -> BatchState:
        """The batch as it stands; unless `runs`, without those."""
        return batch.retrieve(self.id, runs=runs, client=self.client)

    def results(self) -> Results:
        """How its runs that are over ended, in the order of the items."""
        return batch.results(self.id, client=self.client)

    def wait(
        self, timeout: float | None = None, *, on_progress: Callable[[BatchState], object] | None = None
    ) -> BatchState:
        """Waits until the batch is over, as `batch.wait` does."""
        return batch.wait(self, timeout, on_progress=on_progress, client=self.client)

    if TYPE_CHECKING:  # in `async def` code of a run an awaitable stands for it

        def __await__(self) -> Generator[Any, None, BatchHandle]: ...


def batch_trigger(
    task_id: str, items: Iterable[Any], options: Mapping[str, Any], key: Any, key_ttl: Any, client: Client | None
) -> BatchHandle:
    """Asks for a run of each item, a payload or `(payload, options)`, as one batch."""
    wanted = ((task_id, *item_of(item, options)) for item in each(items, "items"))
    return _trigger((Wanted(task, payload, of_version(given)) for task, payload, given in wanted), key, key_ttl, client)


class Batch:
    """Batches of one task or of several. In `async def` code of a run each call gives an awaitable."""

    def trigger(
        self,
        items: Iterable[Any],
        *,
        idempotency_key: Any = None,
        idempotency_key_ttl: Any = None,
        client: Client | None = None,
        **trigger_options: Any,
    ) -> BatchHandle:
        """Asks for runs of several tasks at once. An item is `(task, payload)` or `(task, payload, options)`.

        A task is one, or its id. An item's options come before `trigger_options`. The key is the batch's.
        """
        wanted = (_wanted(item, trigger_options) for item in each(items, "items"))
        return _trigger(wanted, idempotency_key, idempotency_key_ttl, client)

    def retrieve(self, batch_id: str, *, runs: bool = True, client: Client | None = None) -> BatchState:
        """A batch: its status, its runs, what could not be triggered.

        `runs=False` leaves out which runs it has: of a large batch they are some megabytes.
        """
        found: BatchState = blocking(partial(batch_calls.retrieve, runs=runs), batch_id, client)
        return found

    def results(self, batch_id: str, *, client: Client | None = None) -> Results:
        """How the runs of a batch that are over ended, in the order of its items."""
        found: Results = blocking(_results, batch_id, client)
        return found

    def wait(
        self,
        batch: BatchHandle | str,
        timeout: float | None = None,
        *,
        on_progress: Callable[[BatchState], object] | None = None,
        client: Client | None = None,
    ) -> BatchState:
        """Waits until a batch is over, or so many seconds; it as it stands then. Each look is given to `on_progress`.

        It is for apps: a run that waits like this keeps its place. `batch_trigger_and_wait` gives it up meanwhile.
        """
        state: BatchState = blocking(_wait, batch_id_of(batch), client, Looks(timeout, on_progress))
        return state


def batch_id_of(batch: BatchHandle | str) -> str:
    """The id of a batch that is named by its id or its handle."""
    return id_of(batch, "batch")


def _trigger(wanted: Iterable[Wanted], key: Any, key_ttl: Any, client: Client | None) -> BatchHandle:
    made: BatchHandle = blocking(_triggered, batch_calls.Lines(wanted), key_options(key, key_ttl), client)
    return made


def _triggered(lines: batch_calls.Lines, wire: Mapping[str, Any], client: Client | None) -> BatchHandle:
    made = batch_calls.trigger(lines, wire, client)
    token = made.get("publicAccessToken")
    return BatchHandle(made["id"], made["runCount"], bool(made.get("isCached")), client, token)


def _results(batch_id: str, client: Client | None) -> Results:
    return Results(batch_calls.results(batch_id, client))


def _wait(batch_id: str, client: Client | None, looks: Looks) -> BatchState:
    """A batch as it stands after the last look, with its runs, which the looks are told without."""
    asked = client or default()
    while (pause := looks.pause(batch_calls.retrieve(batch_id, asked, runs=False))) is not None:
        asked.sleep(pause)
    return batch_calls.retrieve(batch_id, asked)


def _wanted(item: Any, options: Mapping[str, Any]) -> Wanted:
    if not isinstance(item, tuple) or len(item) not in (2, 3):
        raise ConfigurationError(f"batch.trigger takes tuples (task, payload) or (task, payload, options), not {item!r}")
    task_id = item[0] if isinstance(item[0], str) else getattr(item[0], "id", None)
    if not isinstance(task_id, str):
        raise ConfigurationError(f"{item[0]!r} is no task: give a task or its id")
    if len(item) == 3 and not isinstance(item[2], dict):
        raise ConfigurationError(f"an item's options are a dict, not {item[2]!r:.80}")
    return Wanted(task_id, item[1], of_version({**options, **(item[2] if len(item) == 3 else {})}))


batch = Batch()
