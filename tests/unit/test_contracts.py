"""Who may import whom is kept, and every top-level part is linked into the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_import_contracts_are_kept():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_part_is_linked():
    for part in ("control_plane", "scheduler", "nomad_jobs", "executor_shim", "sdk", "cli", "web"):
        assert (ROOT / "src" / "sojourn" / part).resolve() == ROOT / part


def test_the_public_face_is_what_is_visible():
    import sojourn

    assert sojourn.__all__ == sorted(sojourn.__all__)
    for name in sojourn.__all__:
        assert getattr(sojourn, name) is not None
