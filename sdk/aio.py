"""`AsyncClient`: the same calls for apps with an event loop, each awaited; nothing of it blocks the loop.

The calls are those of `Client` and of what stands over it (`runs`, `queues` …), carried out in threads of the client's own:
one description of each call, one policy for what is sent again, one set of connections. A thread that waits for an answer
costs little; `calls` says how many may at once, further ones wait for their turn. Inside a run what waits for runs of
its environment waits as the run does, whose place is free meanwhile.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sojourn.sdk import durations
from sojourn.sdk.auth import Auth
from sojourn.sdk.batch import Batch, BatchHandle, batch_id_of
from sojourn.sdk.batch import batch as batches
from sojourn.sdk.batches import BatchState
from sojourn.sdk.bulk_actions import BulkActions, BulkActionState
from sojourn.sdk.client import Client
from sojourn.sdk.conditions import task_result
from sojourn.sdk.deployments import Deployments
from sojourn.sdk.envvars import EnvVars
from sojourn.sdk.errors import ApiError, RunTimeoutError
from sojourn.sdk.exchange import Transport
from sojourn.sdk.keys import Keys
from sojourn.sdk.looks import Looks
from sojourn.sdk.queues import Queues
from sojourn.sdk.result import Results, TaskResult
from sojourn.sdk.run import (
    Run,
    RunHandle,
    Runs,
    batch_trigger_and_wait,
    ran,
    trigger_all,
    trigger_and_wait,
    triggered,
    wait_for_result,
    waiting_of,
    wanted_of,
)
from sojourn.sdk.schedules import Schedules, schedules
from sojourn.sdk.tasks import Tasks, tasks
from sojourn.sdk.wait import Wait, wait
from sojourn.sdk.webhooks import Webhooks

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds of one long poll: a call that is given up lasts no longer than that.
_POLL = 5.0
#: Items of a list that are had at once.
_PAGE = 100
_Begin = Callable[..., "Awaitable[Any]"]


class _Over:
    """A namespace over `target`. `named`: arguments that each of its calls gets."""

    def __init__(self, begin: _Begin, target: Any, **named: Any):
        self._begin = begin
        self._target = target
        self._named = named


def _apart(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Awaitable[T]]:
    """A call that is awaited."""

    @functools.wraps(method)
    def call(self: _Over, *given: P.args, **named: P.kwargs) -> Awaitable[T]:
        return self._begin(method, self._target, *given, **(self._named | named))

    return call


def _apart_done(method: Callable[Concatenate[Any, P], Awaitable[None]]) -> Callable[Concatenate[Any, P], Awaitable[None]]:
    """The same of a call that gives nothing."""
    return cast("Callable[Concatenate[Any, P], Awaitable[None]]", _apart(method))


def _each(method: Callable[Concatenate[Any, P], Iterator[T]]) -> Callable[Concatenate[Any, P], AsyncIterator[T]]:
    """A list, which is asked for page by page."""

    @functools.wraps(method)
    async def call(self: _Over, *given: P.args, **named: P.kwargs) -> AsyncIterator[T]:
        items: Iterator[T] = await self._begin(method, self._target, *given, **(self._named | named))
        while page := await self._begin(_some, items):
            for item in page:
                yield item

    return call


def _some(items: Iterator[T]) -> list[T]:
    return list(islice(items, _PAGE))


def _retrieve(runs: Runs, run_id: str) -> Run:
    """A run, with its payload and output as far as they can be had: whoever reads them must not block the loop."""
    run = runs.retrieve(run_id)
    for name in ("payload", "output"):
        with suppress(ApiError):
            getattr(run, name)
    return run


class AsyncRuns(_Over):
    """`runs`, awaited."""

    retrieve = _apart(_retrieve)
    list = _each(Runs.list)
    cancel = _apart(Runs.cancel)
    replay = _apart(Runs.replay)
    bulk_cancel = _apart(Runs.bulk_cancel)
    bulk_replay = _apart(Runs.bulk_replay)
    why = _apart(Runs.why)
    reschedule = _apart(Runs.reschedule)
    metadata = _apart(Runs.metadata)
    update_metadata = _apart(Runs.update_metadata)
    add_tags = _apart(Runs.add_tags)
    reset_idempotency_key = _apart(Runs.reset_idempotency_key)
    events = _apart(Runs.events)
    trace = _apart(Runs.trace)
    logs = _each(Runs.logs)

    def __init__(self, begin: _Begin, client: Client):
        super().__init__(begin, Runs(client))
        self._client = client

    async def result(self, run: Run | RunHandle | str, timeout: float | None = None) -> TaskResult:
        """Waits for a run to end; `RunTimeoutError` after `timeout` seconds."""
        run_id, task = ran(run)
        durations.timeout(timeout)
        if waiting_of(self._client) is not None:
            return await wait_for_result(self._client, run_id, task, timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            begun = time.monotonic()
            left = _POLL if deadline is None else max(deadline - begun, 0)
            found = await self._begin(self._client.result, run_id, min(left, _POLL))
            if found is not None:
                return task_result(found, task)
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise RunTimeoutError(f"{task} ({run_id}) did not end within {timeout:g} s; it goes on")
            if now - begun < min(left, _POLL) / 2:  # a server that does not wait
                await asyncio.sleep(min(1.0, left))


class AsyncTasks(_Over):
    """`tasks`, awaited. To wait for a run holds no thread."""

    trigger = _apart(Tasks.trigger)
    batch_trigger = _apart(Tasks.batch_trigger)

    def __init__(self, begin: _Begin, client: Client, runs: AsyncRuns):
        super().__init__(begin, tasks, client=client)
        self._client, self._runs = client, runs

    async def trigger_and_wait(
        self, task_id: str, payload: Any = None, timeout: float | None = None, **trigger_options: Any
    ) -> TaskResult:
        """Asks for a run of a task by its id and waits for its result; `RunTimeoutError` after `timeout` seconds."""
        if waiting_of(self._client) is not None:
            return await trigger_and_wait(task_id, payload, trigger_options, timeout, self._client)
        handle: RunHandle = await self._begin(triggered, task_id, payload, trigger_options, self._client)
        return await self._runs.result(handle, timeout)

    async def batch_trigger_and_wait(self, task_id: str, items: Iterable[Any], **trigger_options: Any) -> Results:
        """Asks for a run of each item and waits for all: their results in order, failed ones with `ok` false."""
        if waiting_of(self._client) is not None:
            return await batch_trigger_and_wait(task_id, list(items), trigger_options, self._client)
        wanted = wanted_of(task_id, items, trigger_options)
        made: Sequence[str] = await self._begin(trigger_all, wanted, self._client) if wanted else ()
        return Results([await self._runs.result(run_id) for run_id in made])


class AsyncBatches(_Over):
    """`batch`, awaited."""

    trigger = _apart(Batch.trigger)
    retrieve = _apart(Batch.retrieve)
    results = _apart(Batch.results)

    async def wait(
        self,
        batch: BatchHandle | str,
        timeout: float | None = None,
        *,
        on_progress: Callable[[BatchState], object] | None = None,
    ) -> BatchState:
        """Waits until a batch is over, or so many seconds; it as it stands then. Each look is given to `on_progress`."""
        looks, batch_id = Looks(timeout, on_progress), batch_id_of(batch)
        while (pause := looks.pause(await self.retrieve(batch_id, runs=False))) is not None:
            await asyncio.sleep(pause)
        return await self.retrieve(batch_id)


class AsyncQueues(_Over):
    """`queues`, awaited."""

    list = _each(Queues.list)
    retrieve = _apart(Queues.retrieve)
    pause = _apart(Queues.pause)
    resume = _apart(Queues.resume)
    override_limit = _apart(Queues.override_limit)
    reset_limit = _apart(Queues.reset_limit)
    set_rate = _apart(Queues.set_rate)
    reset_rate = _apart(Queues.reset_rate)


class AsyncSchedules(_Over):
    """`schedules`, awaited."""

    create = _apart(Schedules.create)
    retrieve = _apart(Schedules.retrieve)
    update = _apart(Schedules.update)
    activate = _apart(Schedules.activate)
    deactivate = _apart(Schedules.deactivate)
    delete = _apart_done(Schedules.delete)
    backfill = _apart(Schedules.backfill)
    list = _each(Schedules.list)
    timezones = _apart(Schedules.timezones)


class AsyncTokens(_Over):
    """Tokens, as `wait` makes and completes them, awaited."""

    create = _apart(Wait.create_token)
    complete = _apart_done(Wait.complete_token)
    retrieve = _apart(Wait.retrieve_token)
    list = _each(Wait.list_tokens)


class AsyncBulkActions(_Over):
    """`bulk_actions`, awaited."""

    retrieve = _apart(BulkActions.retrieve)
    abort = _apart_done(BulkActions.abort)
    list = _each(BulkActions.list)

    async def wait(
        self,
        action: BulkActionState | str,
        timeout: float | None = None,
        *,
        on_progress: Callable[[BulkActionState], object] | None = None,
    ) -> BulkActionState:
        """Waits until an action is over, or so many seconds; it as it stands then. Each look is given to `on_progress`."""
        looks = Looks(timeout, on_progress)
        while (pause := looks.pause(state := await self.retrieve(action))) is not None:
            await asyncio.sleep(pause)
        return state


class AsyncEnvVars(_Over):
    """`envvars`, awaited."""

    list = _apart(EnvVars.list)
    retrieve = _apart(EnvVars.retrieve)
    create = _apart_done(EnvVars.create)
    update = _apart_done(EnvVars.update)
    delete = _apart_done(EnvVars.delete)
    upload = _apart_done(EnvVars.upload)


class AsyncKeys(_Over):
    """`keys`, awaited."""

    list = _apart(Keys.list)
    create = _apart(Keys.create)
    rotate = _apart(Keys.rotate)
    revoke = _apart(Keys.revoke)


class AsyncAuth(_Over):
    """`auth`, awaited."""

    create_public_token = _apart(Auth.create_public_token)
    create_trigger_public_token = _apart(Auth.create_trigger_public_token)
    create_batch_trigger_public_token = _apart(Auth.create_batch_trigger_public_token)


class AsyncWebhooks(_Over):
    """`webhooks`, awaited."""

    list = _apart(Webhooks.list)
    create = _apart(Webhooks.create)
    retrieve = _apart(Webhooks.retrieve)
    update = _apart(Webhooks.update)
    delete = _apart_done(Webhooks.delete)
    rotate_secret = _apart(Webhooks.rotate_secret)
    enable = _apart(Webhooks.enable)
    disable = _apart(Webhooks.disable)
    deliveries = _each(Webhooks.deliveries)
    redeliver = _apart(Webhooks.redeliver)
    test = _apart(Webhooks.test)


class AsyncDeployments(_Over):
    """`deployments`, awaited."""

    list = _each(Deployments.list)
    current = _apart(Deployments.current)
    retrieve = _apart(Deployments.retrieve)
    promote = _apart(Deployments.promote)


class AsyncClient:
    """`api_url` and `secret_key` default as those of `Client` do. `calls`: how many may be under way at once.

    `async with AsyncClient() as client:` closes it; without that, `await client.close()` does.
    """

    def __init__(
        self,
        api_url: str | None = None,
        secret_key: str | None = None,
        *,
        transport: Transport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        calls: int = 64,
    ):
        client = self._client = Client(api_url, secret_key, transport=transport, sleep=sleep)
        self._threads = ThreadPoolExecutor(calls, "sojourn-client")
        begin = self._begin
        self.runs = AsyncRuns(begin, client)
        self.tasks = AsyncTasks(begin, client, self.runs)
        self.batches = AsyncBatches(begin, batches, client=client)
        self.queues = AsyncQueues(begin, Queues(client))
        self.schedules = AsyncSchedules(begin, schedules, client=client)
        self.tokens = AsyncTokens(begin, wait, client=client)
        self.bulk_actions = AsyncBulkActions(begin, BulkActions(client))
        self.envvars = AsyncEnvVars(begin, EnvVars(client))
        self.keys = AsyncKeys(begin, Keys(client))
        self.auth = AsyncAuth(begin, Auth(client))
        self.webhooks = AsyncWebhooks(begin, Webhooks(client))
        self.deployments = AsyncDeployments(begin, Deployments(client))

    async def request(self, method: str, path: str, body: Any = None, *, timeout: float = 60) -> dict[str, Any]:
        """Any call of the API, in its own words, sent again as `Client.request` sends it."""
        answer: dict[str, Any] = await self._begin(self._client.request, method, path, body, timeout=timeout)
        return answer

    async def close(self) -> None:
        """Closes the connections, when the calls that are under way have ended."""
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def _begin(self, function: Callable[..., Any], *given: Any, **named: Any) -> Awaitable[Any]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, functools.partial(function, *given, **named))
