"""Bodies that are too large where nothing is read before their address has proved itself: who sends one sees why."""

from __future__ import annotations

import http.client
from contextlib import closing
from urllib.parse import urlsplit

from sojourn.control_plane.api.models.triggers import MAX_VALUE_BYTES
from sojourn.control_plane.engine.packets import MAX_UPLOAD_BYTES
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_server import port

__all__ = ["port"]


def test_a_large_callback_or_upload_is_refused_and_the_connection_goes_on(port: int, tenant: Tenant) -> None:
    token = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={}).json["url"]
    upload = tenant.client.simulate_put("/api/v2/packets/large.json").json["presignedUrl"]
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for method, url, limit in (("POST", token, MAX_VALUE_BYTES), ("PUT", upload, MAX_UPLOAD_BYTES)):
            for _ in range(3):
                connection.request(method, urlsplit(url).path, b"x" * (limit + 1))
                answer = connection.getresponse()
                assert (answer.status, b"BODY_TOO_LARGE" in answer.read()) == (413, True)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
