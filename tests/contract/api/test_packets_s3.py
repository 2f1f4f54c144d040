"""Large payloads where the object store is S3: addresses are the service's own, and good without a key."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from sojourn.control_plane.engine.packets import MAX_UPLOAD_BYTES
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.client import Client
from tests.contract.api.conftest import Tenant, connected
from tests.contract.api.test_packets import LARGE, begin, retrieve, stored_trigger
from tests.support.postgres_server import Databases
from tests.support.s3_server import CREDENTIALS, s3_server


@pytest.fixture(scope="module")
def platform(databases: Databases, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        data = tmp_path_factory.mktemp("data")
        with connected(databases, redis_url, data, object_store=server.bucket("packets")) as made:
            yield made


def put(url: str, body: bytes, media_type: str) -> None:
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": media_type})
    urllib.request.urlopen(request, timeout=60).close()


def test_a_large_payload_is_read_from_the_service(tenant: Tenant) -> None:
    wire = retrieve(tenant, tenant.trigger("large", LARGE))
    assert "X-Amz-Signature" in wire["payloadPresignedUrl"]
    with urllib.request.urlopen(wire["payloadPresignedUrl"], timeout=60) as answer:
        assert json.load(answer) == LARGE
    assert Client("http://api.test", tenant.key).read_address(wire["payloadPresignedUrl"]) == LARGE


@pytest.mark.parametrize(
    ("body", "media_type", "payload"),
    [
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b'{"json": {"a": 1}}', "application/super+json", {"a": 1}),
        (b"plain", "text/plain", "plain"),
    ],
)
def test_a_client_uploads_to_the_service(tenant: Tenant, body: bytes, media_type: str, payload: Any) -> None:
    begun = begin(tenant, f"dir/{len(body)}")
    put(begun["presignedUrl"], body, media_type)
    assert retrieve(tenant, stored_trigger(tenant, begun["storagePath"]).json["id"])["payload"] == payload
    address = tenant.client.simulate_get(f"/api/v1/packets/dir%2F{len(body)}").json["presignedUrl"]
    with urllib.request.urlopen(address, timeout=60) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (body, media_type)


def test_an_upload_that_is_too_large_is_no_payload(tenant: Tenant) -> None:
    """The service takes what it is sent; a trigger looks at the size before it reads any of it."""
    put(begin(tenant, "huge")["presignedUrl"], b"1" * (MAX_UPLOAD_BYTES + 1), "application/json")
    answer = stored_trigger(tenant, "huge")
    assert (answer.status_code, answer.json["field"]) == (400, "payload")


def test_what_is_not_there(tenant: Tenant) -> None:
    assert stored_trigger(tenant, "nothing").json["code"] == "PACKET_NOT_FOUND"
    address = tenant.client.simulate_get("/api/v1/packets/nothing").json["presignedUrl"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(address, timeout=60)
    assert caught.value.code == 404
