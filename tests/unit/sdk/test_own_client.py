"""A client that is given inside a run: where it speaks as the run does, the run waits, and holds no place meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn import AsyncClient, Client, Queue, task, tasks, testing, wait
from sojourn.sdk.conditions import ForRun
from sojourn.sdk.run import Runs

NARROW = Queue("narrow", concurrency_limit=1)
OWN, OTHER = "tr_dev_testing", "tr_prod_0123456789abcdefghijklmn"


@pytest.fixture
def platform() -> Any:
    @task(id="child", queue=NARROW)
    def child(payload: Any) -> Any:
        return payload

    with testing.Platform() as entered:
        yield entered


def awaiting(platform: testing.Platform, key: str, ask: Any) -> Any:
    """What a task gets that asks an `AsyncClient` with that key."""

    @task(id="parent", queue=NARROW)
    async def parent() -> Any:
        async with AsyncClient("http://testing", key, transport=platform.answer) as client:
            return await ask(client)

    return parent.trigger().id


async def _one(client: AsyncClient) -> Any:
    return (await client.tasks.trigger_and_wait("child", 1)).output


async def _many(client: AsyncClient) -> Any:
    none = await client.tasks.batch_trigger_and_wait("child", [])
    return [each.output for each in [*none, *await client.tasks.batch_trigger_and_wait("child", iter([1, 2]))]]


async def _handle(client: AsyncClient) -> Any:
    return (await client.runs.result(await client.tasks.trigger("child", 1))).output


@pytest.mark.parametrize(
    ("ask", "output", "children"),
    [(_one, 1, ["run_test2"]), (_many, [1, 2], ["run_test2", "run_test3"]), (_handle, 1, ["run_test2"])],
)
def test_an_async_client_of_the_runs_own_waits_as_the_run_does(
    platform: testing.Platform, ask: Any, output: Any, children: list[str]
) -> None:
    parent = platform.runs[awaiting(platform, OWN, ask)]
    assert (parent.ok, parent.output) == (True, output)
    assert parent.waited == tuple(wait.run(ForRun(child, "child")) for child in children)  # type: ignore[arg-type]
    if ask is not _handle:
        assert {platform.options[child]["lockToVersion"] for child in children} == {"test"}


def test_one_of_another_environment_does_not(platform: testing.Platform) -> None:
    parent = platform.runs[awaiting(platform, OTHER, _one)]
    assert (parent.output, parent.waited) == (1, ())
    assert "lockToVersion" not in platform.options["run_test2"], "which has versions of its own"


@pytest.mark.parametrize(("key", "waits"), [(OWN, True), (OTHER, False)])
def test_neither_does_a_plain_client(platform: testing.Platform, key: str, waits: bool) -> None:
    client = Client("http://testing/", key, transport=platform.answer)

    @task(id="parent", queue=NARROW)
    def parent() -> Any:
        waited = tasks.trigger_and_wait("child", 1, client=client).output
        return [waited, Runs(client).result("run_test2").output]

    ended = platform.runs[parent.trigger().id]
    assert ended.output == [1, 1]
    assert len(ended.waited) == 2 * waits
    assert ("lockToVersion" in platform.options["run_test2"]) is waits
