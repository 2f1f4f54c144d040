"""Fixtures of modules whose tasks are run by a real shim and frozen by criu; they may be written in `TASKS`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.conftest import offered
from tests.integration.shim.freezing_server import FreezingServer
from tests.support.freezers import needs_freezing


@pytest.fixture
def server() -> Iterator[FreezingServer]:
    needs_freezing()
    made = FreezingServer()
    yield made
    made.close()


@pytest.fixture
def sandbox() -> dict[str, Any]:
    return {"mode": "required", "network": "none"}


@pytest.fixture
def content_hash(request: pytest.FixtureRequest, server: FreezingServer, tmp_path: Path) -> str:
    project = tmp_path / "project"
    project.mkdir()
    (project / "tasks.py").write_text(request.module.TASKS)
    return offered(server, project)
