"""The application under the server it is made for: what WSGI alone cannot show."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from sojourn.control_plane.api.routes import ROUTES
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant
from tests.support.web_server import serve

TRIGGER = "/api/v1/tasks/served/trigger"


@pytest.fixture(scope="module")
def port(platform: Platform) -> Iterator[int]:
    """Of a server whose connections wait until it is there."""
    with serve(platform.config) as server:
        yield server.port


def exchange(port: int, tenant: Tenant, target: str, headers: str, body: bytes) -> tuple[int, bytes]:
    """One raw request: the answer's status and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {tenant.key}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\n{headers}\r\n".encode() + body)
        answer = http.client.HTTPResponse(connection, method="POST")
        answer.begin()
        return answer.status, answer.read()


def test_a_slash_in_a_tasks_id(port: int, tenant: Tenant, platform: Platform) -> None:
    status, body = exchange(port, tenant, "/api/v1/tasks/mail%2Fdaily%20%C3%A9/trigger", "Content-Length: 2\r\n", b"{}")
    assert status == 200
    found = re.search(rb'"id":"(\w+)"', body)
    assert found
    run = platform.runs.find(tenant.environment, found[1].decode())
    assert run and (run.task, run.queue) == ("mail/daily é", "task/mail/daily é")


def test_a_body_in_chunks(port: int, tenant: Tenant) -> None:
    chunks = b'5\r\n{"pay\r\n9\r\nload": 1}\r\n0\r\n\r\n'
    assert exchange(port, tenant, TRIGGER, "Transfer-Encoding: chunked\r\n", chunks)[0] == 200


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}x\r\n0\r\n\r\n"])
def test_malformed_chunks_are_the_clients_fault(port: int, tenant: Tenant, chunks: bytes) -> None:
    status, body = exchange(port, tenant, TRIGGER, "Transfer-Encoding: chunked\r\n", chunks)
    assert (status, b"BODY_INCOMPLETE" in body) == (400, True)


def test_a_body_in_chunks_is_counted_while_it_arrives(port: int, tenant: Tenant) -> None:
    """The answer comes at the byte beyond the limit, although the body has no end."""
    limit = next(route.limit for route in ROUTES if route.action == "tasks.trigger")
    chunks = b"%x\r\n%b\r\n1\r\nx\r\n" % (limit, b"x" * limit)
    status, body = exchange(port, tenant, TRIGGER, "Transfer-Encoding: chunked\r\n", chunks)
    assert (status, b"BODY_TOO_LARGE" in body) == (413, True)


def test_a_callback_says_its_length_and_proves_itself(port: int, tenant: Tenant) -> None:
    """Answered though the body has no end, or was not read."""
    token = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={}).json
    path = "/api" + token["url"].partition("/api")[2]
    status, body = exchange(port, tenant, path, "Transfer-Encoding: chunked\r\n", b"1\r\n1\r\n")
    assert (status, b"LENGTH_REQUIRED" in body) == (411, True)
    large = b'"' + b"x" * 1_000_000 + b'"'
    status, body = exchange(port, tenant, path[:-1], f"Content-Length: {len(large)}\r\n", large)
    assert (status, b"CALLBACK_REFUSED" in body) == (401, True)
    assert exchange(port, tenant, path, f"Content-Length: {len(large)}\r\n", large) == (200, b'{"success":true}')
    found = tenant.client.simulate_get(f"/api/v1/waitpoints/tokens/{token['id']}").json
    assert found["output"] == large.decode()


def test_a_batchs_items_in_chunks_and_cut_off(port: int, tenant: Tenant) -> None:
    """A stream that breaks off is sent again, by a client that does not say how long it is."""
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 1_000}).json["id"]
    path = f"/api/v3/batches/{batch}/items"
    lines = [b'{"index": %d, "task": "served", "payload": "%s"}\n' % (index, b"x" * 100) for index in range(1_000)]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {tenant.key}\r\n"
        head += "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        part = b"".join(lines[:700])
        connection.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(part), part) + b"ffff\r\n" + lines[700][:20])
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as again:
        headers = {"Authorization": f"Bearer {tenant.key}", "Content-Type": "application/x-ndjson"}
        again.request("POST", path, iter(lines), headers, encode_chunked=True)
        answer = again.getresponse()
        told = json.loads(answer.read())
        assert (answer.status, told["sealed"]) == (200, True)
        assert told["itemsAccepted"] + told["itemsDeduplicated"] == 1_000
        again.request("POST", path, b'{"index": 1000', {"Authorization": f"Bearer {tenant.key}"})
        refused = again.getresponse()
        assert (refused.status, b"CONTENT_TYPE_UNSUPPORTED" in refused.read()) == (415, True)
    runs = tenant.client.simulate_get(f"/api/v2/batches/{batch}").json["runs"]
    assert len(set(runs)) == 1_000


def test_a_length_beyond_the_limit_is_refused_unread(port: int, tenant: Tenant) -> None:
    status, body = exchange(port, tenant, TRIGGER, "Content-Length: 99999999999\r\n", b"{}")
    assert (status, b"BODY_TOO_LARGE" in body) == (413, True)


def test_a_large_body_is_refused_and_the_connection_goes_on(port: int, tenant: Tenant) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", TRIGGER, b"x" * 12_000_000, {"Authorization": f"Bearer {tenant.key}"})
    answer = connection.getresponse()
    assert (answer.status, b"BODY_TOO_LARGE" in answer.read()) == (413, True)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("task", ["%FF", "a%2F%FF", "a%1Fb", "a%00b", "a%252Fb", "%2E%2E"])
def test_an_address_that_names_no_task(port: int, tenant: Tenant, task: str) -> None:
    path = f"/api/v1/tasks/{task}/trigger"
    assert exchange(port, tenant, path, "Content-Length: 2\r\n", b"{}")[0] == 400
