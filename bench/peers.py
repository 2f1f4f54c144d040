"""Sojourn beside its peers in one run: `python bench/peers.py HARNESS [its options]`, such as `--peers sojourn,celery`.

HARNESS is the folder of the peers' benchmark. It is copied, Sojourn's adapter is put beside the others, and its
`run.py` is run by PEERS_PYTHON (an interpreter that has the peers' packages and psutil; default: this one).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """The harness's exit code."""
    if not arguments or not (harness := Path(arguments[0])).joinpath("run.py").is_file():
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="sojourn-peers-") as folder:
        copy = Path(folder, "harness")
        shutil.copytree(harness, copy, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(_HERE / "peer_adapter.py", copy / "adapters" / "sojourn_peer.py")
        _needs_no_server(copy / "run.py")
        environment = {
            **os.environ,
            "BENCH_SOJOURN_PYTHON": sys.executable,
            "PYTHONPATH": str(_HERE.parent / "src"),
        }
        python = os.environ.get("PEERS_PYTHON", sys.executable)
        return subprocess.run([python, str(copy / "run.py"), *arguments[1:]], env=environment).returncode


def _needs_no_server(run: Path) -> None:
    """Tells the harness that Sojourn brings its own PostgreSQL and Redis."""
    text, known = run.read_text(), '"restate": []'
    assert known in text, "the harness has changed: it does not list what its peers need where it did"
    run.write_text(text.replace(known, f'{known}, "sojourn": []'))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
