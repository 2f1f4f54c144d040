"""Fixtures of modules whose tasks, written in `TASKS`, are run by a real shim and frozen by criu."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.freezing_server import FreezingServer
from tests.support.criu import needs_criu

from sojourn.sdk import archive


@pytest.fixture
def server() -> Iterator[FreezingServer]:
    needs_criu()
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
    packed, content_hash = archive.pack(project)
    server.archives[content_hash] = packed
    return content_hash
