"""The synchronous and the asynchronous face of the SDK: each call of one is in the other, or is missing for a reason."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from sojourn import AsyncClient, task, testing
from sojourn.sdk import aio
from sojourn.sdk.auth import Auth
from sojourn.sdk.batch import Batch
from sojourn.sdk.bulk_actions import BulkActions
from sojourn.sdk.client import Client
from sojourn.sdk.deployments import Deployments
from sojourn.sdk.envvars import EnvVars
from sojourn.sdk.errors import ConfigurationError, RunTimeoutError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.hooks import Decorators
from sojourn.sdk.keys import Keys
from sojourn.sdk.queues import Queues
from sojourn.sdk.run import Runs
from sojourn.sdk.schedules import Schedules
from sojourn.sdk.tasks import Tasks
from sojourn.sdk.wait import Wait
from sojourn.sdk.webhooks import Webhooks

FACES = [
    (Runs, aio.AsyncRuns),
    (Tasks, aio.AsyncTasks),
    (Batch, aio.AsyncBatches),
    (Queues, aio.AsyncQueues),
    (Schedules, aio.AsyncSchedules),
    (Wait, aio.AsyncTokens),
    (BulkActions, aio.AsyncBulkActions),
    (EnvVars, aio.AsyncEnvVars),
    (Keys, aio.AsyncKeys),
    (Auth, aio.AsyncAuth),
    (Webhooks, aio.AsyncWebhooks),
    (Deployments, aio.AsyncDeployments),
    (Client, AsyncClient),
]

OF_RUNS = "of the run that the code is in, which waits by itself: in `async def` code it gives an awaitable"
HOOK = "a decorator, which registers a function and calls nothing"
OTHER_NAME = "the same call under a shorter name"
IN_WORDS = "a call in the wire's own words: `request` makes any"
#: What only one face has, and why.
ONLY_SYNC: dict[type, dict[str, str]] = {
    Tasks: dict.fromkeys((name for name in vars(Decorators) if not name.startswith("_")), HOOK),
    Wait: dict.fromkeys(("for_", "until", "for_token", "any", "all", "delay", "date", "token", "run"), OF_RUNS)
    | dict.fromkeys(("create_token", "complete_token", "retrieve_token", "list_tokens"), OTHER_NAME),
    Auth: {"with_token": "a block that changes this thread's client; an AsyncClient is given its own key"},
    Webhooks: {"verify": "reads a message and calls nothing"},
    Client: dict.fromkeys(
        (name for name in vars(Client) if not name.startswith("_") and name not in ("request", "close")), IN_WORDS
    ),
}
ONLY_ASYNC: dict[type, dict[str, str]] = {
    Wait: dict.fromkeys(("create", "complete", "retrieve", "list"), OTHER_NAME),
}


def calls(face: type) -> dict[str, Any]:
    """What it has for its users."""
    return {name: each for name, each in inspect.getmembers(face) if not name.startswith("_") and inspect.isfunction(each)}


@pytest.mark.parametrize(("sync", "awaited"), FACES, ids=lambda face: face.__name__)
def test_each_call_is_on_both_faces_or_has_a_reason_not_to(sync: type, awaited: type) -> None:
    assert calls(sync).keys() - calls(awaited).keys() == set(ONLY_SYNC.get(sync, {}))
    assert calls(awaited).keys() - calls(sync).keys() == set(ONLY_ASYNC.get(sync, {}))


@pytest.mark.parametrize(("sync", "awaited"), FACES, ids=lambda face: face.__name__)
def test_both_take_the_same(sync: type, awaited: type) -> None:
    for name in calls(sync).keys() & calls(awaited).keys():
        mine, other = (list(inspect.signature(calls(face)[name]).parameters)[1:] for face in (sync, awaited))
        assert set(mine) - {"client"} == set(other) - {"client"}, name


def test_a_client_has_every_face() -> None:
    async def faces() -> set[type]:
        async with AsyncClient("http://testing", "tr_dev_testing", transport=nowhere) as client:
            return {type(each) for each in vars(client).values()}

    assert {awaited for _, awaited in FACES if awaited is not AsyncClient} <= asyncio.run(faces())


def nowhere(_: Request) -> Response:
    raise AssertionError("nothing is asked")


# --- waiting for runs


def double() -> Any:
    @task(id="double")
    def work(payload: int) -> int:
        return payload * 2

    return work


def test_runs_are_triggered_and_waited_for_in_an_app() -> None:
    double()

    async def app(platform: testing.Platform) -> None:
        async with AsyncClient("http://testing", "tr_dev_testing", transport=platform.answer) as client:
            result = await client.tasks.trigger_and_wait("double", 4, tags=["a"])
            assert (result.output, platform.options[result.id]) == (8, {"tags": ["a"]})
            several = await client.tasks.batch_trigger_and_wait("double", (n for n in (1, (2, {"priority": 3}))))
            assert [each.output for each in several] == [2, 4]
            assert await client.tasks.batch_trigger_and_wait("double", []) == []
            with pytest.raises(ConfigurationError, match="each item its own"):
                await client.tasks.batch_trigger_and_wait("double", [1], idempotency_key="a")

    with testing.Platform() as platform:
        asyncio.run(app(platform))


def test_a_run_that_does_not_end_in_time() -> None:
    def answer(request: Request) -> Response:
        if request.method == "POST":
            return Response(200, {}, b'{"id": "run_1"}')
        return Response(404, {}, b'{"error": "not over", "code": "RUN_NOT_FINISHED"}')

    async def app() -> None:
        async with AsyncClient("http://testing", "tr_dev_testing", transport=answer) as client:
            await client.tasks.trigger_and_wait("double", 1, timeout=0.01)

    with pytest.raises(RunTimeoutError, match="run_1"):
        asyncio.run(app())


def test_in_a_tasks_coroutines_the_same_calls_are_awaited() -> None:
    work = double()

    @task(id="parent")
    async def parent(payload: Any) -> Any:
        one = await work.trigger_and_wait(1)
        many = await work.batch_trigger_and_wait([2, 3])
        handle = await work.batch_trigger([4])
        state = await handle.retrieve()
        return [
            one.output,
            [each.output for each in many],
            state.run_count,
            [each.output for each in await handle.results()],
        ]

    assert testing.run(parent).output == [2, [4, 6], 1, [8]]
