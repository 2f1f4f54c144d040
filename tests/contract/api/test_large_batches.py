"""100,000 items at once: through the Python SDK, a real server, PostgreSQL and Redis; cut off, killed, and sent again."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sojourn import batch, tasks
from sojourn.control_plane.engine import recovery
from sojourn.control_plane.store import batches as stored_batches
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.batch_calls import Lines, Wanted
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ApiConnectionError, BadRequestError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.transport import HttpTransport
from tests.contract.api.conftest import Tenant
from tests.support.memory import memory
from tests.support.stack import until
from tests.support.web_server import WebServer, serve

ROOT = Path(__file__).parents[3]
COUNT = 100_000
PATIENCE = 60
#: Bytes by which the server's and the client's memory may grow, whatever a batch has: it has 25 MB of lines.
GROWTH = 48 * 1024 * 1024

CLIENT = """
import os, sys
from sojourn import tasks
from sojourn.sdk.client import Client
from tests.support.memory import memory

url, key, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = Client(url, key)
tasks.batch_trigger("hello", [0], client=client)
before = memory(os.getpid(), "VmHWM")
made = tasks.batch_trigger("hello", ({"n": n, "text": "x" * 200} for n in range(count)), client=client)
print(made.id, memory(os.getpid(), "VmHWM") - before)
"""


@pytest.fixture(scope="module")
def server(platform: Platform) -> Iterator[WebServer]:
    with serve(platform.config, workers=2) as made:
        yield made


@pytest.fixture(autouse=True)
def hello(tenant: Tenant) -> None:
    tenant.deploy(["hello"])


def stored(platform: Platform, batch_id: str) -> list[dict[str, Any]]:
    """Index and run of each item, with the run's payload; and no run of the batch that no item has."""
    rows = platform.database.rows(
        "SELECT i.position, i.run_id, r.payload FROM batch_items i JOIN runs r ON r.id = i.run_id"
        " WHERE i.batch_id = %s ORDER BY i.position",
        batch_id,
    )
    [count] = platform.database.rows("SELECT count(*) AS n FROM runs WHERE batch_id = %s", batch_id)
    assert count["n"] == len(rows)
    return rows


def test_a_hundred_thousand_items(platform: Platform, tenant: Tenant, server: WebServer) -> None:
    client = Client(server.url, tenant.key)
    batch.retrieve(tasks.batch_trigger("hello", [0], client=client).id, client=client)
    until(lambda: len(server.workers()) == 2, PATIENCE, "both workers are there")
    before = {pid: memory(pid, "VmRSS") for pid in server.workers()}
    command = [sys.executable, "-c", CLIENT, server.url, tenant.key, str(COUNT)]
    made, grown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.split()
    assert int(grown) < GROWTH, "the client reads its items once and keeps none of them"

    state = batch.retrieve(made, client=client)
    assert (state.status, state.run_count, state.finished_count, len(set(state.runs))) == ("PROCESSING", COUNT, 0, COUNT)
    assert list(state.runs) == sorted(state.runs), "runs are taken in the order of the items"
    items = stored(platform, made)
    assert [each["position"] for each in items] == list(range(COUNT))
    assert tuple(each["run_id"] for each in items) == state.runs
    assert all(f'"n":{index},' in each["payload"].replace(" ", "") for index, each in enumerate(items))
    assert set(state.runs) <= platform.queue.audit(tenant.organization).waiting

    lines = Lines(Wanted("hello", {"n": n}, {}) for n in range(COUNT))
    told = [client.send_batch_items(made, portion) for portion in lines]
    assert all(each["sealed"] and not each["itemsAccepted"] for each in told)
    assert sum(each["itemsDeduplicated"] for each in told) == COUNT
    assert batch.retrieve(made, client=client).runs == state.runs

    peaks = {pid: memory(pid, "VmHWM") - held for pid, held in before.items()}
    assert max(peaks.values()) < GROWTH, "the server holds a portion at a time, and tells a part of the runs"
    print(f"\nclient {int(grown) >> 20} MB, workers {[peak >> 20 for peak in peaks.values()]} MB")


def test_one_item_more_is_refused(tenant: Tenant, server: WebServer) -> None:
    with pytest.raises(BadRequestError) as refused:
        tasks.batch_trigger("hello", range(COUNT + 1), client=Client(server.url, tenant.key))
    assert (refused.value.code, refused.value.field) == ("BODY_INVALID", "runCount")


class Unlucky:
    """A transport that loses portions on their way, each in its own fashion: by their number among those with items."""

    def __init__(self, server: WebServer, platform: Platform):
        self.server = server
        self.platform = platform
        self.send = HttpTransport(server.url)
        self.sent = 0

    def __call__(self, request: Request) -> Response:
        if not request.path.endswith("/items"):
            return self.send(request)
        self.sent += 1
        if self.sent == 2:
            self._begin(request, 0.5).close()
            raise ApiConnectionError("the line was cut in the middle")
        if self.sent == 5:
            with self._begin(request, 0.8):
                self.server.kill_workers()
            raise ApiConnectionError("the server died while it read")
        if self.sent == 8:
            before = self._items()
            with self._begin(request, 1):
                until(lambda: self._items() > before, PATIENCE, "some of the portion is stored")
                self.server.kill_workers()
            raise ApiConnectionError("the server died before it answered")
        if self.sent == 11:
            self.send(request)
            raise ApiConnectionError("the answer was lost")
        return self.send(request)

    def _begin(self, request: Request, part: float) -> socket.socket:
        """A connection on which a part of a request was sent."""
        body = request.body or b""
        head = [f"POST {request.path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in request.headers.items()]
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE)
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body[: int(len(body) * part)])
        return connection

    def _items(self) -> int:
        return int(self.platform.database.rows("SELECT count(*) AS n FROM batch_items")[0]["n"])


def test_what_breaks_off_is_sent_again_and_each_item_has_one_run(
    platform: Platform, tenant: Tenant, server: WebServer
) -> None:
    count = 12_500
    transport = Unlucky(server, platform)
    client = Client(server.url, tenant.key, transport=transport, sleep=lambda _: None)
    wanted = ({"n": n} for n in range(count))
    made = tasks.batch_trigger("hello", wanted, client=client, idempotency_key="unlucky")
    assert transport.sent > 13, "every way of losing a portion was tried"
    items = stored(platform, made.id)
    assert len({each["run_id"] for each in items}) == count
    assert [each["payload"].replace(" ", "") for each in items] == [f'{{"n":{n}}}' for n in range(count)]
    found = Client(server.url, tenant.key)
    again = tasks.batch_trigger("hello", ({"n": n} for n in range(count)), client=found, idempotency_key="unlucky")
    assert again.is_cached and batch.retrieve(again.id, client=found).runs == tuple(each["run_id"] for each in items)

    def all_wait() -> bool:
        return {each["run_id"] for each in items} <= platform.queue.audit(tenant.organization).waiting

    # Each looks at a stretch of all that waits, which is also what the tests before have left.
    [live] = platform.database.rows("SELECT count(*) AS n FROM runs WHERE snapshot_status <> 'FINISHED'")
    sweeps = live["n"] // recovery._BATCH + 2
    while sweeps > 0 and not all_wait():
        for _ in range(10):
            platform.recovery.sweep(tenant.organization, platform.clock())
        sweeps -= 10
    assert all_wait(), "what was stored and not queued is found by sweeps"


def test_a_client_that_dies_in_the_middle_does_the_same_again(
    platform: Platform, tenant: Tenant, server: WebServer
) -> None:
    """Under its key it finds the batch that it began, and every run that was there stays."""

    class Dead(Exception):
        pass

    class Mortal(HttpTransport):
        sent = 0

        def __call__(self, request: Request) -> Response:
            self.sent += 1
            if self.sent == 4:
                raise Dead
            return super().__call__(request)

    with pytest.raises(Dead):
        tasks.batch_trigger(
            "hello", range(3_500), client=Client(server.url, tenant.key, transport=Mortal(server.url)), idempotency_key="d"
        )
    [begun] = platform.database.rows("SELECT id, items FROM batches ORDER BY created_at DESC LIMIT 1")
    assert begun["items"] == 2_000
    before = stored(platform, begun["id"])
    made = tasks.batch_trigger("hello", range(3_500), client=Client(server.url, tenant.key), idempotency_key="d")
    assert (made.id, made.is_cached) == (begun["id"], False)
    after = stored(platform, made.id)
    assert after[:2_000] == before and len({each["run_id"] for each in after}) == 3_500


def test_runs_and_results_come_in_parts(tenant: Tenant, server: WebServer) -> None:
    """What cannot be triggered is over at once, so that there are results."""
    client = Client(server.url, tenant.key)
    made = tasks.batch_trigger("hello", [(n, {"region": "mars"}) for n in range(2_500)], client=client)
    pages = [client.batch_results(made.id)]
    while "next" in pages[-1]:
        pages.append(client.batch_results(made.id, pages[-1]["next"]))
    assert [(len(page["items"]), page.get("next")) for page in pages] == [(1_000, 999), (1_000, 1_999), (500, None)]
    state = made.retrieve()
    assert [each["id"] for page in pages for each in page["items"]] == list(state.runs)
    assert [each.id for each in made.results()] == list(state.runs)
    first = client.retrieve_batch(made.id, {"limit": 1_000})
    assert (len(first["runs"]), first["next"], first["finishedRunCount"]) == (1_000, 999, 2_500)
    rest = client.retrieve_batch(made.id, {"after": 999})
    assert (len(rest["runs"]), "next" in rest) == (1_500, False)
    assert tuple(first["runs"] + rest["runs"]) == state.runs
    counts = made.retrieve(runs=False)
    assert (counts.runs, counts.run_count, counts.finished_count) == ((), 2_500, 2_500)
    last = client.retrieve_batch(made.id, {"after": 2_499})
    assert (last["runs"], "next" in last) == ([], False)
    for wrong in ({"limit": -1}, {"after": COUNT}, {"after": "x"}):
        with pytest.raises(BadRequestError):
            client.retrieve_batch(made.id, wrong)


@pytest.mark.parametrize("size", [1, 25, 1_000])
def test_large_outputs_are_read_a_few_at_a_time(
    platform: Platform, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whatever is cut off where, each item that is over comes once, in its place; those that are not leave gaps."""
    made = tasks.batch_trigger("hello", [(n, {"region": "mars"} if n % 3 else {}) for n in range(20)], client=tenant.sdk())
    with platform.database.transaction():
        platform.database.rows("SET LOCAL session_replication_role = replica")  # else what is over does not change
        platform.database.rows("UPDATE runs SET output = repeat('x', 10) WHERE batch_id = %s", made.id)
    monkeypatch.setattr(stored_batches, "_RESULTS", 7)
    monkeypatch.setattr(stored_batches, "_RESULT_BYTES", size)
    for after in (-1, 0, 6, 18, 19):
        found = [position for position, _ in platform.stored_batches.results(made.id, after, 20)]
        assert found == [n for n in range(after + 1, 20) if n % 3]
