"""What a sandbox costs a cold start: from the start of a shim to the result of its first run, with and without, in turns.

python bench/sandbox_start.py [starts]        (as root)
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.worker_server import WorkerServer

from sojourn.sdk import archive

CODE = "from sojourn import task\n\n\n@task\ndef nothing(payload):\n    return payload\n"
MODES: dict[str, object] = {
    "off": "off",
    "no network": {"mode": "required", "network": "none"},
    "sandbox": "required",
}


def main(starts: int) -> None:
    """Prints the table."""
    cold: dict[str, list[float]] = {mode: [] for mode in MODES}
    warm: dict[str, list[float]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as name:
        project = Path(name) / "project"
        project.mkdir()
        (project / "tasks.py").write_text(CODE)
        packed, content_hash = archive.pack(project)
        for number in range(starts + 1):
            for mode, sandbox in MODES.items():
                server = WorkerServer()  # one each: a killed shim's last question would take the next one's run
                server.archives[content_hash] = packed
                begun = time.perf_counter()
                run = server.give("nothing", number)
                shim = ShimProcess(server, Path(name), content_hash, sandbox=sandbox)
                server.result(run)
                taken = time.perf_counter() - begun
                again = time.perf_counter()
                for _ in range(20):
                    server.result(server.give("nothing", number))
                if number:  # the first fetches the version
                    cold[mode].append(taken * 1000)
                    warm[mode].append((time.perf_counter() - again) * 50)
                shim.end()
                server.close()
    print(f"{'':12}{'cold p50':>10}{'cold max':>10}{'warm mean':>11}   ms, {starts} starts each, alternating")
    for mode in MODES:
        print(f"{mode:12}{statistics.median(cold[mode]):10.1f}{max(cold[mode]):10.1f}{statistics.median(warm[mode]):11.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
