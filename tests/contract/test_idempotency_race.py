"""B06: a hundred requests with one key, from ten processes at the same moment, to the real server: one of them wins."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, app, platform, tenant
from tests.support.stampede import stampede
from tests.support.web_server import WebServer, serve

__all__ = ["app", "platform", "tenant"]

REQUESTS, PROCESSES = 100, 10


@pytest.fixture(scope="module")
def server(platform: Platform) -> Iterator[WebServer]:
    # The connections wait until all processes are there.
    with serve(platform.config, 2, SOJOURN_REQUEST_HEAD_SECONDS="120") as made:
        yield made


def request(tenant: Tenant, path: str, body: Any) -> bytes:
    told = json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {tenant.key}"]
    head += ["Content-Type: application/json", f"Content-Length: {len(told)}", "", ""]
    return "\r\n".join(head).encode() + told


@pytest.mark.parametrize("bodies", ["the same", "others"])
@pytest.mark.parametrize(
    ("path", "table", "new"),
    [
        ("/api/v1/tasks/raced/trigger", "runs", 1),
        # A batch without its items is one whose items are to come, whoever has begun it.
        ("/api/v3/batches", "batches", REQUESTS),
        ("/api/v1/waitpoints/tokens", "waitpoints", 1),
    ],
)
def test_b06_a_hundred_at_once_with_one_key_have_one_winner(
    server: WebServer, tenant: Tenant, platform: Platform, path: str, table: str, new: int, bodies: str
) -> None:
    """Whatever is in them: a key says that it is the same."""
    key = secrets.token_hex(8)

    def body(n: int) -> Any:
        number = n if bodies == "others" else 0
        if table == "runs":
            return {"payload": number, "options": {"idempotencyKey": key}}
        if table == "batches":
            return {"runCount": 1, "taskIdentifiers": [f"raced-{number}"], "idempotencyKey": key}
        return {"tags": [str(number)], "idempotencyKey": key}

    answers = stampede(server.port, [request(tenant, path, body(n)) for n in range(REQUESTS)], PROCESSES)
    assert len(answers) == REQUESTS and all("id" in answer for answer in answers), answers
    assert len({answer["id"] for answer in answers}) == 1
    assert sum(not answer["isCached"] for answer in answers) == new
    rows = platform.database.rows(f"SELECT id FROM {table} WHERE idempotency_key = %s", key)
    assert [row["id"] for row in rows] == [answers[0]["id"]]
