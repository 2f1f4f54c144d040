"""Hooks of the whole project hold for every task, in whichever file and however the process has begun."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.worker_server import WorkerServer

from sojourn.sdk import archive, manifest

PROJECT = {
    "around.py": """
from sojourn import logger, tasks

@tasks.middleware
def close():
    yield
    logger.info("closed")
""",
    "plain.py": """
from sojourn import task

@task
def plain(payload):
    return payload
""",
    "told.py": """
from sojourn import logger
from plain import plain

@plain.on_success
def told():
    logger.info("told")
""",
}


@pytest.fixture
def version(server: WorkerServer, tmp_path: Path) -> str:
    """The hash of the project's version, packed as `sojourn deploy` does."""
    project, output = tmp_path / "project", tmp_path / "manifest.json"
    project.mkdir()
    for name, text in PROJECT.items():
        (project / name).write_text(text)
    subprocess.run([sys.executable, "-P", "-m", "sojourn.sdk.index", str(project), str(output)], check=True)
    packed, version = archive.pack(project, manifest.to_pack(json.loads(output.read_text())))
    server.archives[version] = packed
    return version


def test_hooks_declared_in_any_file_hold_from_the_first_run_on(
    server: WorkerServer, start: Callable[..., ShimProcess], version: str
) -> None:
    start(version_hash=version)
    for _ in range(2):
        run = server.give("plain", 1, file="plain.py")
        assert server.result(run)["outcome"]["ok"]
        assert [line["message"] for line in server.log(run)] == ["closed", "told"]


def test_a_file_with_hooks_that_cannot_be_imported_fails_every_run(
    server: WorkerServer, start: Callable[..., ShimProcess], tmp_path: Path
) -> None:
    (tmp_path / "plain.py").write_text(PROJECT["plain.py"])
    (tmp_path / "around.py").write_text("import no_such_library\n")
    packed, version = archive.pack(tmp_path, manifest.to_pack({"hookFiles": ["around.py"]}))
    server.archives[version] = packed
    start(version_hash=version)
    for _ in range(2):
        outcome: dict[str, Any] = server.result(server.give("plain", 1, file="plain.py"))["outcome"]
        assert outcome["error"]["code"] == "COULD_NOT_IMPORT_TASK"
        assert "around.py cannot be imported" in outcome["error"]["message"]
