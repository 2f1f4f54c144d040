"""Images through the server they are made for, to both object stores: whole or not at all, and never whole in memory."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sojourn.control_plane import config
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, connected, executor, first_tenant
from tests.support.freezing import NODE_TYPE, Player, soon
from tests.support.memory import memory
from tests.support.postgres_server import Databases
from tests.support.s3_server import CREDENTIALS, s3_server
from tests.support.stack import until

MB = 1024 * 1024
SIZE = 100 * MB
#: What a worker may grow by while it streams: a few parts of an upload, not the image.
GROWTH = 60 * MB


@dataclass
class Served:
    """A control plane as `sojourn up` starts it, with one worker."""

    platform: Platform
    tenant: Tenant
    port: int
    process: subprocess.Popen[bytes]

    def worker(self) -> int:
        """The worker's process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def peak(self) -> int:
        """The most memory that the worker has had, in bytes."""
        return memory(self.worker(), "VmHWM")

    def connection(self, timeout: float = 60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)


@pytest.fixture(scope="module", params=["directory", "s3"])
def served(
    request: pytest.FixtureRequest, databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("data")
    if request.param == "directory":
        with serving(databases, redis_url, data, object_store=str(data / "images")) as made:
            yield made
        return
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with serving(databases, redis_url, data, object_store=server.bucket("streams")) as made:
            yield made


class serving:
    """A server over a fresh platform."""

    def __init__(self, databases: Databases, redis_url: str, data: Path, **settings: Any):
        self._platform = connected(databases, redis_url, data, **settings)

    def __enter__(self) -> Served:
        platform = self._platform.__enter__()
        tenant = first_tenant(platform)
        listener = socket.create_server(("127.0.0.1", 0))
        self._listener = listener
        settings = ["-c", "python:sojourn.control_plane.embedded.gunicorn_conf", "-w", "1", "--no-control-socket"]
        bound = ["-b", f"fd://{listener.fileno()}", "sojourn.control_plane.serve:application()"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *settings, *bound],
            env=os.environ | config.to_environment(platform.config),
            pass_fds=[listener.fileno()],
        )
        return Served(platform, tenant, listener.getsockname()[1], self._process)

    def __exit__(self, *error: Any) -> None:
        self._process.terminate()
        self._process.wait()
        self._listener.close()
        self._platform.__exit__(None, None, None)


@pytest.fixture
def player(served: Served) -> Player:
    """An executor with a blocked run and a checkpoint that was begun."""
    version = served.tenant.deploy(["hello"])
    served.tenant.trigger()
    made = Player(executor(served.platform, served.tenant, version["id"], f"executor_{os.urandom(3).hex()}"))
    made.next()
    made.block(soon(served.platform.clock()))
    return made


def credential(player: Player) -> dict[str, str]:
    sent = dict(player.client._default_headers or {})
    return {"Authorization": sent["Authorization"], "x-run-token": player.work["token"]}


def chunks(size: int) -> Iterator[bytes]:
    block = os.urandom(MB - 7)
    while size > 0:
        yield block[:size]
        size -= len(block)


def names(served: Served) -> list[str]:
    return [each.name for each in served.platform.objects.list("checkpoints/")]


def send(served: Served, player: Player, checkpoint: str, body: Iterator[bytes]) -> tuple[int, dict[str, Any]]:
    connection = served.connection()
    headers = credential(player) | {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}
    connection.request("PUT", f"/worker/v1/checkpoints/{checkpoint}", body, headers, encode_chunked=True)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told


def test_a_large_image_goes_out_and_comes_back_in_pieces(served: Served, player: Player) -> None:
    begun = player.begin().json
    for _ in range(2):
        assert send(served, player, begun["checkpoint"], chunks(20 * MB))[0] == 200
    before, digest = served.peak(), sha256()

    def counted() -> Iterator[bytes]:
        for chunk in chunks(SIZE):
            digest.update(chunk)
            yield chunk

    assert send(served, player, begun["checkpoint"], counted()) == (200, {"bytes": SIZE})
    body = {"checkpoint": begun["checkpoint"], "nodeType": NODE_TYPE, "sealedBytes": SIZE}
    assert player.post("suspend", player.held(**body)).status_code == 200
    served.platform.waiting.complete_due(soon(served.platform.clock()))
    player.next()

    connection = served.connection()
    path = f"/worker/v1/checkpoints/{begun['checkpoint']}?run={player.work['run']['id']}"
    connection.request("GET", path, headers=credential(player))
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))
    came = sha256()
    while chunk := answer.read(MB):
        came.update(chunk)
    assert came.digest() == digest.digest()
    assert served.peak() - before < GROWTH
    player.go_on()


def test_others_are_answered_meanwhile(served: Served, player: Player) -> None:
    """The client sends no more until they are, and the store has what came so far: nobody waits for either."""
    begun = player.begin().json

    def slow() -> Iterator[bytes]:
        for n, chunk in enumerate(chunks(SIZE)):
            yield chunk
            if n % 10 == 9:
                connection = served.connection()
                connection.request("GET", "/healthz")
                assert connection.getresponse().status == 200
                connection.close()

    assert send(served, player, begun["checkpoint"], slow())[0] == 200


@pytest.mark.parametrize("sent", [0, 3, 30])
def test_a_client_that_vanishes_leaves_nothing(served: Served, player: Player, sent: int) -> None:
    begun, before = player.begin().json, names(served)
    head = f"PUT /worker/v1/checkpoints/{begun['checkpoint']} HTTP/1.1\r\nHost: localhost\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in credential(player).items())
    for framing in ("Transfer-Encoding: chunked", f"Content-Length: {SIZE}"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
            connection.sendall(f"{head}{framing}\r\n\r\n".encode())
            for _ in range(sent):
                piece = b"x" * MB
                connection.sendall(b"%x\r\n%b\r\n" % (MB, piece) if "chunked" in framing else piece)
            connection.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(connection, method="PUT")
            answer.begin()
            assert (answer.status, json.loads(answer.read())["code"]) == (400, "BODY_INCOMPLETE")
    assert names(served) == before
    assert player.store(begun["checkpoint"], b"whole").json == {"bytes": 5}, "it may be sent again"


def test_a_finished_wait_ends_a_slow_upload(served: Served, player: Player) -> None:
    """Its process is stopped meanwhile: it must not wait for the rest of the image."""
    begun = player.begin().json
    ended, pieces = threading.Event(), iter(range(600))

    def slow() -> Iterator[bytes]:
        for n in pieces:
            yield b"x" * 20_000
            if n == 3:
                served.platform.waiting.complete_due(soon(served.platform.clock()))
            if ended.wait(0.05):
                return

    try:
        status, told = send(served, player, begun["checkpoint"], slow())
        assert (status, told["code"]) == (409, "STALE")
    except OSError:
        pass  # the connection was closed while more was being sent
    ended.set()
    assert next(pieces, None) is not None, "it was cut off before its end"
    until(lambda: not any(begun["checkpoint"] in name for name in names(served)), 60, "nothing is left of it")
