"""F46: an object store that does not answer, or only slowly, behind the real server. Runs go on in memory."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.api.conftest import executor
from tests.contract.api.test_image_streams import MB, Served, chunks, send, serving
from tests.support.freezing import Player, soon
from tests.support.postgres_server import Databases
from tests.support.s3_server import CREDENTIALS, s3_server


class Narrow:
    """A way to a server over which so many bytes a second go up; `cut` lets nothing through any more."""

    def __init__(self, target: tuple[str, int], rate: float):
        self._target, self._rate = target, rate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += [client, server]
            threading.Thread(target=self._carry, args=(client, server, self._rate), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, 1e12), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, rate: float) -> None:
        try:
            while data := source.recv(65_536):
                while self.is_cut:
                    time.sleep(0.05)
                time.sleep(len(data) / rate)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self.is_cut = False
        for each in (self._listener, *self._open):
            each.close()


@pytest.fixture(scope="module")
def way() -> Iterator[Narrow]:
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        server.bucket("slow")
        host, port = server.endpoint.removeprefix("http://").split(":")
        made = Narrow((host, int(port)), rate=1 * MB)
        yield made
        made.close()


@pytest.fixture(scope="module")
def served(way: Narrow, databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = f"s3://slow/images?endpoint=http://127.0.0.1:{way.port}&region=us-east-1"
    data: Path = tmp_path_factory.mktemp("data")
    with serving(databases, redis_url, data, object_store=store, checkpoint_seconds=3.0) as made:
        yield made


@pytest.fixture
def player(served: Served) -> Player:
    version = served.tenant.deploy(["hello"])
    served.tenant.trigger()
    made = Player(executor(served.platform, served.tenant, version["id"], f"executor_{time.monotonic_ns()}"))
    made.next()
    made.block(soon(served.platform.clock()))
    return made


def goes_on(served: Served, player: Player) -> str:
    """The run waits alive, is readmitted when its wait is over, and ends; why it waited alive."""
    run = player.work["run"]["id"]
    reason = str(served.tenant.client.simulate_get(f"/api/v3/runs/{run}").json["aliveReason"])
    served.platform.waiting.complete_due(soon(served.platform.clock()))
    served.platform.placing.readmit(served.platform.clock())
    assert player.complete({"ok": True, "output": "1"})["result"] == "RUN_FINISHED"
    return reason


def test_a_small_image_fits_through(served: Served, player: Player) -> None:
    begun = player.begin().json
    assert send(served, player, begun["checkpoint"], chunks(MB))[0] == 200


def test_a_store_of_a_megabyte_a_second(served: Served, player: Player) -> None:
    begun = player.begin().json
    try:
        status, told = send(served, player, begun["checkpoint"], chunks(60 * MB))
        assert (status, told["code"]) == (503, "IMAGES_UNAVAILABLE")
    except OSError:
        pass  # the connection was closed while more was being sent
    assert "not stored within 3 s" in goes_on(served, player)
    assert not [each for each in served.platform.objects.list("checkpoints/") if begun["checkpoint"] in each.name]


def test_a_store_that_does_not_answer(served: Served, player: Player, way: Narrow) -> None:
    """Nothing is refused, nothing comes back: the silence is bounded, and others are answered meanwhile."""
    begun = player.begin().json
    way.is_cut = True
    try:
        told: list[tuple[int, str]] = []

        def ask() -> None:
            status, answer = send(served, player, begun["checkpoint"], chunks(1000))
            told.append((status, answer["code"]))

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive():
            connection = served.connection(30)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()
            thread.join(0.5)
    finally:
        way.is_cut = False
    assert told == [(503, "IMAGES_UNAVAILABLE")], "it is told so while the store is still silent"
    assert "the object store" in goes_on(served, player)
