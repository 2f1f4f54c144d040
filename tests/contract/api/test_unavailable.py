"""What callers hear when a part of the platform is away, or something unforeseen happens."""

from __future__ import annotations

import logging
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from falcon import testing

from sojourn.control_plane import config, wiring, wsgi
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[testing.TestClient]:
    """An application whose database and queue are nowhere."""
    settings = config.load(
        {},
        database_url=f"postgresql://nobody@/none?host={tmp_path}",
        redis_url=f"unix://{tmp_path}/none.sock",
        data_dir=str(tmp_path),
        master_key=urlsafe_b64encode(os.urandom(32)).decode(),
    )
    platform = wiring.connect(settings)
    yield testing.TestClient(wsgi.create_app(platform))
    platform.close()


def test_the_process_lives_and_is_not_ready(alone: testing.TestClient) -> None:
    assert alone.simulate_get("/healthz").json == {"status": "ok"}
    answer = alone.simulate_get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json == {
        "status": "not ready",
        "parts": {"database": "unavailable", "queue": "unavailable", "schema": "unavailable"},
    }


@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/v3/runs/run_" + "0" * 26])
def test_a_call_is_to_be_repeated(alone: testing.TestClient, path: str) -> None:
    answer = alone.simulate_get(path, headers={"Authorization": "Bearer tr_dev_" + "x" * 24})
    assert (answer.status_code, answer.json["code"], answer.headers["retry-after"]) == (503, "UNAVAILABLE", "1")
    assert "sock" not in answer.text and "nobody" not in answer.text


def test_all_parts_are_ready(anonymous: testing.TestClient) -> None:
    answer = anonymous.simulate_get("/readyz")
    assert answer.status_code == 200 and set(answer.json["parts"].values()) == {"ok"}


def test_a_schema_of_another_release_is_not_ready(platform: Platform, anonymous: testing.TestClient) -> None:
    platform.database.rows("INSERT INTO schema_migrations (number) VALUES (9999)")
    answer = anonymous.simulate_get("/readyz")
    platform.database.rows("DELETE FROM schema_migrations WHERE number = 9999")
    assert answer.status_code == 503
    assert answer.json["parts"] == {"database": "ok", "queue": "ok", "schema": "unavailable"}


def test_the_unforeseen_is_logged_and_not_told(
    platform: Platform, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    platform.database.rows("ALTER TABLE runs RENAME TO gone")
    try:
        with caplog.at_level(logging.ERROR):
            answer = tenant.client.simulate_get("/api/v1/runs")
    finally:
        platform.database.rows("ALTER TABLE gone RENAME TO runs")
    assert (answer.status_code, answer.json["code"], answer.json["error"]) == (500, "INTERNAL", "Internal error")
    assert "runs" not in answer.text and tenant.key not in caplog.text
    assert answer.json["requestId"] in caplog.text and "UndefinedTable" in caplog.text
