"""Waiting for a batch, in both faces of the SDK and on the command line, over the real application."""

from __future__ import annotations

import asyncio
import json

import pytest

from sojourn import BatchState, batch, tasks
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.aio import AsyncClient
from sojourn.sdk.batch import BatchHandle
from sojourn.sdk.client import Client
from sojourn.sdk.looks import Looks
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_acting_sdk import Invoke, Straight, invoke

__all__ = ["invoke"]


class Ending:
    """Each pause of a waiting client ends the next run, and lets the scheduler look at batches."""

    def __init__(self, client: Client, platform: Platform):
        self.platform = platform
        self._client = client
        self.runs: list[str] = []
        self.pauses: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if self.runs:
            self._client.cancel(self.runs.pop())
        self.platform.batches.sweep(self.platform.clock(), 100)


@pytest.fixture
def client(tenant: Tenant, platform: Platform) -> Client:
    tenant.deploy(["hello"])
    made = Client("http://api.test", tenant.key, transport=Straight(tenant, platform))
    made.sleep = Ending(made, platform)
    return made


@pytest.fixture
def begun(client: Client) -> BatchHandle:
    handle = tasks.batch_trigger("hello", [1, 2, 3], client=client)
    client.sleep.runs = list(handle.retrieve().runs)  # type: ignore[attr-defined]
    return handle


def test_a_batch_is_waited_for_with_its_progress(begun: BatchHandle, client: Client) -> None:
    seen: list[BatchState] = []
    state = begun.wait(on_progress=seen.append)
    assert (state.status, state.is_over, len(state.runs)) == ("COMPLETED", True, 3)
    assert [each.finished_count for each in seen] == sorted(each.finished_count for each in seen)
    assert (seen[0].finished_count, seen[0].is_over, seen[-1].finished_count) == (0, False, 3)
    assert batch.wait(begun.id, client=client) == batch.wait(begun, client=client) == state


def test_pauses_grow_and_time_is_kept(begun: BatchHandle, client: Client) -> None:
    client.sleep.runs.clear()  # type: ignore[attr-defined]
    seen: list[BatchState] = []
    state = begun.wait(0, on_progress=seen.append)
    assert (state.status, len(seen), client.sleep.pauses) == ("PROCESSING", 1, [])  # type: ignore[attr-defined]
    looks = Looks(None, None)
    found = [looks.pause(state) for _ in range(20)]
    assert found == sorted(found, key=float) and (found[0], found[-1]) == (0.25, 2.0)


def test_a_batch_is_waited_for_in_an_event_loop(begun: BatchHandle, client: Client) -> None:
    end = client.sleep

    async def waited() -> list[BatchState]:
        seen: list[BatchState] = []

        def look(state: BatchState) -> None:
            seen.append(state)
            end(0)

        async with AsyncClient("http://api.test", "tr_dev_x", transport=client._transport) as other:
            assert (await other.batches.wait(begun.id, timeout=0)).status == "PROCESSING"
            seen.append(await other.batches.wait(begun, on_progress=look))
        return seen

    seen = asyncio.run(waited())
    assert (seen[0].finished_count, seen[-1].status, seen[-1].finished_count) == (0, "COMPLETED", 3)


def test_a_batch_is_waited_for_on_the_command_line(begun: BatchHandle, invoke: Invoke) -> None:
    assert "PROCESSING" in invoke("batches", "wait", begun.id, "--timeout", "0", code=1)
    assert "3 of 3 runs, 3 over" in invoke("batches", "wait", begun.id)
    assert json.loads(invoke("batches", "wait", begun.id, "--json"))["status"] == "COMPLETED"
    assert "no such batch" in invoke("batches", "wait", "batch_x", code=4)
