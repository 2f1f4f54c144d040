"""B02 and B01 below the application: bytes on a socket that are no request, or two, or that never end.

What cannot be read is refused and the connection closed, so that nothing behind it is taken for a request; whoever is slow
is cut off, and nobody else waits for it.
"""

from __future__ import annotations

import http.client
import re
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sojourn.control_plane import config
from sojourn.control_plane.embedded import gunicorn_worker
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, app, platform, tenant
from tests.support.web_server import WebServer, serve

__all__ = ["app", "platform", "tenant"]

#: Seconds until a client's patience ends in these tests, for a server that answers within one.
PATIENCE = 30.0
HEAD_SECONDS, BODY_SECONDS = 2.0, 2.0
TRIGGER = "/api/v1/tasks/hostile/trigger"
SMUGGLED = "/api/v1/tasks/smuggled/trigger"


@pytest.fixture(scope="module")
def server(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with serve(platform.config, 2, log=tmp_path_factory.mktemp("server") / "reached") as made:
        yield made


@pytest.fixture(scope="module")
def hasty(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """A server with little patience, and few places for connections."""
    times: dict[str, Any] = {
        "SOJOURN_REQUEST_HEAD_SECONDS": str(HEAD_SECONDS),
        "SOJOURN_REQUEST_BODY_SECONDS": str(BODY_SECONDS),
    }
    log = tmp_path_factory.mktemp("hasty") / "reached"
    with serve(platform.config, log=log, arguments=["--worker-connections", "250"], **times) as made:
        yield made


def until_closed(connection: socket.socket) -> bytes:
    """All that the server sends before it closes the connection."""
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionResetError:  # it closed without reading all that it was sent
        pass
    return received


def sent(server: WebServer, data: bytes) -> bytes:
    """What a server answers to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return until_closed(connection)


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers in it."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def request(tenant: Tenant, *headers: bytes, body: bytes = b"", method: bytes = b"POST", target: str = TRIGGER) -> bytes:
    """A request by the tenant, with another behind it."""
    key = tenant.key.encode()
    own = [b"%b %b HTTP/1.1" % (method, target.encode()), b"Host: localhost", b"Authorization: Bearer " + key]
    behind = [b"POST " + SMUGGLED.encode() + b" HTTP/1.1", b"Host: localhost", b"Authorization: Bearer " + key]
    behind += [b"Content-Length: 2", b"Connection: close"]
    return b"\r\n".join([*own, *headers, b"", b""]) + body + b"\r\n".join([*behind, b"", b"{}"])


CHUNKED = b"Transfer-Encoding: chunked"
EMPTY = b"0\r\n\r\n"
#: How long a body is, said in two ways, or in a way that others read otherwise.
LENGTHS: dict[str, tuple[list[bytes], bytes]] = {
    "length and chunks": ([b"Content-Length: 5", CHUNKED], EMPTY),
    "chunks and length": ([CHUNKED, b"Content-Length: 5"], EMPTY),
    "chunks twice": ([CHUNKED, CHUNKED], EMPTY),
    "chunks, then identity": ([CHUNKED, b"Transfer-Encoding: identity"], EMPTY),
    "vertical tab": ([b"Transfer-Encoding: \x0bchunked"], EMPTY),
    "chunked, identity": ([b"Transfer-Encoding: chunked, identity"], EMPTY),
    "chunked, chunked": ([b"Transfer-Encoding: chunked, chunked"], EMPTY),
    "xchunked": ([b"Transfer-Encoding: xchunked"], EMPTY),
    "quoted": ([b'Transfer-Encoding: "chunked"'], EMPTY),
    "gzip alone": ([b"Transfer-Encoding: gzip"], EMPTY),
    "identity alone": ([b"Transfer-Encoding: identity"], EMPTY),
    "a name with a space behind it": ([b"Transfer-Encoding : chunked"], EMPTY),
    "a name with a space before it": ([b"X: y", b" Transfer-Encoding: chunked"], EMPTY),
    "two lengths that differ": ([b"Content-Length: 5", b"Content-Length: 0"], EMPTY),
    "two equal lengths": ([b"Content-Length: 5", b"Content-Length: 5"], EMPTY),
    "a signed length": ([b"Content-Length: +5"], EMPTY),
    "a negative length": ([b"Content-Length: -5"], EMPTY),
    "a hexadecimal length": ([b"Content-Length: 0x5"], EMPTY),
    "a list of lengths": ([b"Content-Length: 5, 5"], EMPTY),
    "a length with an underscore": ([b"Content-Length: 1_0"], EMPTY),
    "a length in other digits": (["Content-Length: ５".encode()], EMPTY),
    "a superscript length": ([b"Content-Length: \xb2"], EMPTY),
    "no length": ([b"Content-Length: "], EMPTY),
    "a length in words": ([b"Content-Length: five"], EMPTY),
}
#: Chunks that others may read otherwise.
CHUNKS: dict[str, bytes] = {
    "a size that is none": b"zz\r\n{}\r\n" + EMPTY,
    "a signed size": b"+2\r\n{}\r\n" + EMPTY,
    "a size with a prefix": b"0x2\r\n{}\r\n" + EMPTY,
    "a size with a space before it": b" 2\r\n{}\r\n" + EMPTY,
    "a size with an underscore": b"0_2\r\n{}\r\n" + EMPTY,
    "no size": b"\r\n{}\r\n" + EMPTY,
    "more than its size": b"2\r\n{}x\r\n" + EMPTY,
    "a line that ends with LF": b"2\n{}\r\n" + EMPTY,
    "a length among the trailers": b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
    "a huge size": b"f" * 40_000 + b"\r\n{}\r\n" + EMPTY,
}
#: What is no head of a request.
HEADS: dict[str, bytes] = {
    "obsolete folding": b"GET / HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n b\r\n\r\n",
    "bare LF in the head": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare LF between headers": b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: x\r\nX\x00: a\r\n\r\n",
    "a name that is no token": b"GET / HTTP/1.1\r\nHost: x\r\nX[1]: a\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "raw bytes in the target": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "three words in the target": b"GET / /x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version that is none": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2 said aloud": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method that is none": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method of a kilobyte": b"G" * 1_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an expectation that nobody knows": b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\x00" * 200,
    "a header of 64 KB": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 65_536 + b"\r\n\r\n",
    "ten thousand headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "an address of 64 KB": b"GET /" + b"x" * 65_536 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
}


def refused_and_closed(server: WebServer, data: bytes) -> int:
    """The one status that bytes are answered with, 4xx or 501, before the connection is closed."""
    before = len(server.reached())
    answer = sent(server, data)
    [status] = statuses(answer)
    assert 400 <= status < 500 or status == 501, answer
    assert not any("smuggled" in target for target in server.reached()[before:]), "what was behind it was carried out"
    return status


@pytest.mark.parametrize("name", LENGTHS)
def test_b02_a_body_whose_length_is_in_doubt_is_refused_unread(server: WebServer, tenant: Tenant, name: str) -> None:
    headers, body = LENGTHS[name]
    before = server.reached()
    assert refused_and_closed(server, request(tenant, *headers, body=body)) in (400, 501)
    assert server.reached() == before, "no application sees it"


@pytest.mark.parametrize("name", CHUNKS)
def test_b02_chunks_that_are_none_end_the_connection(server: WebServer, tenant: Tenant, name: str) -> None:
    assert refused_and_closed(server, request(tenant, CHUNKED, body=CHUNKS[name])) == 400


@pytest.mark.parametrize("name", HEADS)
def test_b02_what_is_no_request_never_arrives(server: WebServer, tenant: Tenant, name: str) -> None:
    before = server.reached()
    refused_and_closed(server, HEADS[name] + request(tenant))
    assert server.reached() == before


def test_b02_a_request_behind_another_is_one(server: WebServer, tenant: Tenant) -> None:
    """What the tests above count on: behind a request that is in order the other is carried out."""
    answer = sent(server, request(tenant, b"Content-Length: 2", body=b"{}"))
    assert statuses(answer) == [200, 200]
    assert server.reached()[-2:] == [f"POST {TRIGGER}", f"POST {SMUGGLED}"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("//api/v1/runs", 404),
        ("/api//v1/runs", 404),
        ("/api/v1/%2e%2e/v1/runs", 404),
        ("/api/v1/../v1/runs", 404),
        ("/api/v1/runs%00", 404),
        ("/api/v1/runs/%00", 404),
        ("/%00", 404),
        ("/api/v1/runs;x=y", 404),
        ("/api/v1/runs%2f", 404),
        ("/api/v1/runs%0d%0aX:%20y", 404),
        ("/static/%2e%2e/%2e%2e/config.py", 404),
        ("/static/..%2f..%2fconfig.py", 404),
        ("/api/v1/runs?page[size]=1%00", 400),
        ("/api/v1/runs?%ff=%fe", 400),
        # The absolute form is HTTP, too: the path counts, whatever host it names.
        ("http://elsewhere.example/api/v1/runs", 200),
        ("http://elsewhere.example//api/v1/runs", 404),
        ("/api/v1/runs", 200),
    ],
)
def test_b02_addresses(server: WebServer, tenant: Tenant, target: str, status: int) -> None:
    answer = sent(server, request(tenant, b"Connection: close", method=b"GET", target=target))
    assert statuses(answer) == [status]
    assert b"X: y" not in answer.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", 405), ("OPTIONS", 200), ("TRACE", 405), ("CONNECT", 405), ("PROPFIND", 405), ("PUT", 405), ("DELETE", 405)],
)
def test_b02_methods(server: WebServer, tenant: Tenant, method: str, status: int) -> None:
    """Nothing of a request comes back, its key least of all."""
    answer = sent(server, request(tenant, b"Connection: close", method=method.encode(), target="/api/v1/runs"))
    assert statuses(answer) == [status]
    assert tenant.key.encode() not in answer


def test_b02_two_keys_are_none(server: WebServer, tenant: Tenant) -> None:
    again = b"Authorization: Bearer " + tenant.key.encode()
    answer = sent(server, request(tenant, again, b"Connection: close", method=b"GET", target="/api/v1/runs"))
    assert statuses(answer) == [401]


@pytest.mark.parametrize("header", [b"Authorization_: x", b"X_Forwarded_For: 10.0.0.1", b"Content_Length: 5"])
def test_b02_headers_that_would_pass_for_others_are_dropped(server: WebServer, tenant: Tenant, header: bytes) -> None:
    answer = sent(server, request(tenant, header, b"Connection: close", method=b"GET", target="/api/v1/runs"))
    assert statuses(answer) in ([200], [400])


@pytest.mark.parametrize("name", [b"Authorization_", b"authorization_", b"AUTHORIZATION ", b"X-Authorization"])
def test_b02_a_key_under_another_name_opens_nothing(server: WebServer, tenant: Tenant, name: bytes) -> None:
    key = name + b": Bearer " + tenant.key.encode()
    answer = sent(server, b"\r\n".join([b"GET /api/v1/runs HTTP/1.1", b"Host: x", key, b"Connection: close", b"", b""]))
    assert statuses(answer) in ([401], [400])


# --- who sends much

#: Whoever sends what has an end in reach sees the answer, however the connection ends.
READ_TO_ITS_END = "Content-Length: 100000000"


@pytest.mark.parametrize("how", [READ_TO_ITS_END, "Content-Length: 1000000000000", "Transfer-Encoding: chunked"])
def test_b01_a_hundred_megabytes_are_refused_and_not_held(server: WebServer, tenant: Tenant, how: str) -> None:
    piece = b"x" * 1_000_000
    before = server.peak_memory()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(head(tenant, how, "Connection: close"))
            for _ in range(100):
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if "chunked" in how else piece)
        except ConnectionError:
            assert how != READ_TO_ITS_END
        answer = until_closed(connection)
    assert statuses(answer) == [413] or (not answer and how != READ_TO_ITS_END)
    assert server.peak_memory() - before < 50_000_000


# --- who is slow


def is_answered(server: WebServer, tenant: Tenant) -> bool:
    """Whether another client gets its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/api/v1/runs", headers={"Authorization": f"Bearer {tenant.key}"})
        return connection.getresponse().status == 200
    finally:
        connection.close()


def trickled(server: WebServer, begin: bytes, piece: bytes) -> bytes:
    """Sends a piece again and again, sooner than any silence would be minded; what the server says before it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(begin)
        connection.settimeout(HEAD_SECONDS / 10)
        received, end = b"", time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                part = connection.recv(65_536)
                if not part:
                    return received
                received += part
            except TimeoutError:
                try:
                    connection.sendall(piece)
                except ConnectionError:
                    return received
            except ConnectionResetError:
                return received
    raise AssertionError("it was not cut off")


def head(tenant: Tenant, *headers: str) -> bytes:
    lines = [f"POST {TRIGGER} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {tenant.key}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def test_b02_a_head_that_trickles_is_cut_off(hasty: WebServer, tenant: Tenant) -> None:
    before = hasty.reached()
    assert statuses(trickled(hasty, b"GET / HTTP/1.1\r\nX-Slow: ", b"x")) == [408]
    assert statuses(trickled(hasty, b"", b"\r")) in ([400], [408], [])
    assert hasty.reached() == before


def test_b02_who_says_nothing_at_all_is_cut_off(hasty: WebServer) -> None:
    assert sent(hasty, b"") == b""


def test_b02_a_head_that_trickles_behind_a_request_is_cut_off(hasty: WebServer, tenant: Tenant) -> None:
    """A connection that is kept may be silent for long, but not in the middle of a head."""
    first = head(tenant, "Content-Length: 2") + b"{}"
    assert statuses(trickled(hasty, first, b"GET / ")) in ([200, 408], [200, 400])


@pytest.mark.parametrize("how", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("piece", [b"1\r\n1\r\n", b""])
def test_b02_a_body_that_trickles_is_cut_off(hasty: WebServer, tenant: Tenant, how: str, piece: bytes) -> None:
    """Neither a pause nor a pace that nobody has keeps a connection: chunks without end least of all."""
    answer = trickled(hasty, head(tenant, how), piece)
    assert statuses(answer) == [408] and b"BODY_TOO_SLOW" in answer


def test_b02_a_refused_body_that_trickles_is_cut_off(hasty: WebServer, tenant: Tenant) -> None:
    """What is read only so that its sender sees the answer has a deadline, too."""
    begin = head(tenant, "Content-Length: 50000000")
    assert statuses(trickled(hasty, begin, b"x")) == [413]


def test_b02_a_body_with_pauses_that_are_allowed_is_read(hasty: WebServer, tenant: Tenant) -> None:
    """Its pace counts, and not how long all of it takes."""
    body = b'{"payload": "' + b"x" * 7_000 + b'"}'
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE) as connection:
        connection.sendall(head(tenant, f"Content-Length: {len(body)}", "Connection: close"))
        for begin in range(0, len(body), 1_000):
            time.sleep(BODY_SECONDS / 5)  # a client's own pace, which is what this is about
            connection.sendall(body[begin : begin + 1_000])
        assert statuses(until_closed(connection)) == [200]


def test_b02_who_takes_no_answer_is_cut_off(hasty: WebServer) -> None:
    """It asks again and again and reads nothing: what it was to read would keep its place for ever."""
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        hung_up = select.poll()
        hung_up.register(connection, 0)
        assert hung_up.poll(PATIENCE * 1_000), "the connection is still there"


def test_the_settings_page_says_how_patient_it_is() -> None:
    settings = config.load({})
    said = (settings.request_head_seconds, settings.request_body_seconds)
    assert said == (gunicorn_worker.HEAD_SECONDS, gunicorn_worker.BODY_SECONDS)


def test_a_worker_has_descriptors_for_all_of_its_connections(platform: Platform, tenant: Tenant) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))
    try:
        with serve(platform.config) as server:
            assert is_answered(server, tenant)
            [worker] = server.workers()
            assert resource.prlimit(worker, resource.RLIMIT_NOFILE)[0] == min(3_000, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_b02_two_hundred_that_trickle_keep_nobody_from_an_answer(server: WebServer, tenant: Tenant) -> None:
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)) for _ in range(200)
        ]
        for byte in b"GET /":
            for connection in slow:
                connection.sendall(bytes([byte]))
            assert is_answered(server, tenant)


def test_b02_more_than_there_are_places_for_keep_nobody_from_an_answer_for_long(hasty: WebServer, tenant: Tenant) -> None:
    """Every place is taken by somebody who sends a byte now and then. Each is cut off, and others come in."""
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE)) for _ in range(300)
        ]
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert is_answered(hasty, tenant)
        assert {status for connection in slow for status in statuses(until_closed(connection))} == {408}
