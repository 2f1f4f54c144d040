"""What `sojourn doctor` says about freezing: that it works here, or why runs wait in memory and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.freezers import needs_freezing


def line(directory: Path, **settings: str) -> tuple[str, str]:
    """The state and the words of doctor's line."""
    environment = {**os.environ, "SOJOURN_DATA_DIR": str(directory), "SOJOURN_SANDBOX_NETWORK": "none", **settings}
    done = subprocess.run(
        [sys.executable, "-m", "sojourn.cli", "doctor", "--json"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["what"] == "freezing"]
    return found["state"], found["text"]


def test_it_works_here(tmp_path: Path) -> None:
    needs_freezing()
    state, says = line(tmp_path)
    assert state == "ok" and "node type" in says


def test_without_criu_it_says_how_to_have_it(tmp_path: Path) -> None:
    needs_freezing()
    state, says = line(tmp_path, SOJOURN_CRIU=str(tmp_path / "nowhere"))
    assert state == "note" and "wait in memory" in says and "make criu" in says


@pytest.mark.parametrize("sandbox", ["off"])
def test_without_sandboxes_there_is_none(tmp_path: Path, sandbox: str) -> None:
    state, says = line(tmp_path, SOJOURN_SANDBOX=sandbox)
    assert state == "note" and "wait in memory" in says
