"""The API's reference for people says what the OpenAPI page says, to everybody."""

from __future__ import annotations

from typing import Any

from falcon import testing

from sojourn.control_plane.api import openapi
from sojourn.control_plane.api.routes import ROUTES
from sojourn.web.reference import groups


def test_every_address_is_on_the_page(anonymous: testing.TestClient) -> None:
    answer = anonymous.simulate_get("/reference")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for route in ROUTES:
        assert f"<code>{route.method} {route.path}</code>" in answer.text


def test_it_is_not_sent_twice(anonymous: testing.TestClient) -> None:
    tag = anonymous.simulate_get("/reference").headers["etag"]
    assert anonymous.simulate_get("/reference", headers={"If-None-Match": tag}).status_code == 304


def test_fields_with_those_of_objects_inside_them() -> None:
    found: dict[str, Any] = {row.anchor: row for rows in groups(openapi.document()).values() for row in rows}
    trigger = found["tasks_trigger"]
    named = {field.name: field for field in trigger.body}
    assert not named["options"].required and named["options.queue.name"].type == "string"
    assert [field.name for field in trigger.parameters] == ["task"]
    assert [field.name for field in trigger.gives] == ["id", "isCached"]
    listed = {field.name: field for field in found["runs_page"].gives}
    assert listed["data[].createdAt"].type == "date-time" and listed["data[].env.name"].required
    assert dict(found["runs_retrieve"].answers)["404"] == "RUN_NOT_FOUND"
    assert "secret key" in trigger.caller


def test_what_users_call_comes_first() -> None:
    assert list(groups(openapi.document()))[-3:] == ["health", "page", "worker"]
