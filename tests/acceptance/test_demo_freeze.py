"""`make demo-freeze` as its user would run it: a run waits without a process, and goes on on another node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.criu import needs_criu
from tests.support.nomad_nodes import needs_nodes

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 300


def test_it_ends_well_and_tells_what_it_shows() -> None:
    needs_nodes()
    needs_criu()
    done = subprocess.run(
        [sys.executable, "tools/demo_freeze.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".", "DEMO_WAIT_SECONDS": "5"},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    told = "\n".join(lines)
    assert "processes that run user code: 0" in lines
    assert "nobody decides for 5 s …" in lines
    assert 'result: {"customer":"Ada","total":399.5,"approved":true,"by":"Grace"}' in lines
    for step in ("frozen on node1", "node1 loses its power", "thawed on node2", "attempts: 1"):
        assert step in told, told
