"""Cold starts to the first line of user code: fresh and out of an image, of a task that imports nothing and of one that
imports numpy and pandas; beside a raw Nomad dispatch where there is a Nomad. In turns.

The two are taken from where `tools/libraries/install.sh` has put them, or from this interpreter's own libraries.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.integration.shim.conftest import ShimProcess
from tests.integration.shim.worker_server import WorkerServer

from bench.cases.nomad import missing
from bench.measure import in_ms, row
from sojourn.executor_shim import freezing
from sojourn.executor_shim.starts.shelf import Shelf
from sojourn.sdk import archive

PROJECT = Path(__file__).parent.parent / "cold_project"
_NEEDED = ("numpy", "numpy.libs", "pandas", "pandas.libs", "dateutil", "six.py")
_TURNS, _PATIENCE = 15, 60.0
WAYS = {"fresh": "off", "restored": "auto"}


def main() -> None:
    """Rows of each way and task, and what they are of one another."""
    why = freezing.obstacle()
    if why is not None:
        print(f"cold_starts: skipped, {why}", flush=True)
        return
    with tempfile.TemporaryDirectory() as name, _libraries(Path(name) / "libraries") as has_tables:
        tasks = ["bare", *(["tables"] if has_tables else [])]
        _shims(Path(name), tasks)
        if why := missing():
            print(f"cold_starts on Nomad: skipped, {why}", flush=True)
            return
        from bench.cases.cold_starts_on_nomad import compare

        compare(tasks, _TURNS)


# --- the shim alone


def _shims(directory: Path, tasks: list[str]) -> None:
    packed, content_hash = archive.pack(PROJECT)
    starts: dict[tuple[str, str], Callable[[], float]] = {}
    for task in tasks:
        for way in WAYS:
            place = directory / f"{task}-{way}"
            place.mkdir()
            starts[task, way] = partial(_start, place, packed, content_hash, task, WAYS[way])
    for (_, way), start in starts.items():
        start()  # fetches the version; the image is made when its executor leaves
        if way == "restored":
            start()
    found: dict[tuple[str, str], list[float]] = {key: [] for key in starts}
    for _ in range(_TURNS):
        for key, start in starts.items():
            found[key].append(start())
    for (task, way), seconds in found.items():
        row(f"shim, {task}, {way}: started -> first line", **in_ms(seconds))
    for task in tasks:
        ratio = statistics.median(found[task, "fresh"]) / statistics.median(found[task, "restored"])
        row(f"shim, {task}: fresh by restored", times=ratio)
        for image in Shelf(str(directory / f"{task}-restored" / "versions")).images(content_hash):
            told = image.figures
            row(f"import alone, {task}", fresh_ms=told.fresh, thaw_ms=told.thaw or 0.0, times=told.fresh / (told.thaw or 1))


def _start(place: Path, packed: bytes, content_hash: str, task: str, restored: str) -> float:
    """Seconds from the shim's start to the first line; returns when its executor has left."""
    server = WorkerServer()
    server.archives[content_hash] = packed
    try:
        run = server.give(task, {}, f"{task}.py")
        begun = time.time()
        shim = ShimProcess(server, place, content_hash, sandbox="required", restored_starts=restored, idle_timeout=0.05)
        outcome = server.result(run)["outcome"]
        assert outcome["ok"], outcome
        assert shim.wait(_PATIENCE) == 0
        return float(json.loads(outcome["output"])) - begun
    finally:
        server.close()


# --- libraries


@contextmanager
def _libraries(directory: Path) -> Iterator[bool]:
    """numpy and pandas, and nothing else, are there for this interpreter; false where they are not to be had.

    By a file in its site-packages, since a job on Nomad gets no variable of the agent's.
    """
    source = _place_of_libraries()
    if source is None:
        print("cold_starts: there is no pandas (tools/libraries/install.sh has it)", flush=True)
        yield False
        return
    for name in _NEEDED:
        if (source / name).exists():
            _copy(source / name, directory / name)
    line = Path(sysconfig.get_path("purelib")) / "sojourn-bench-libraries.pth"
    line.write_text(f"{directory}\n")
    try:
        yield True
    finally:
        line.unlink()


def _place_of_libraries() -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sojourn" / "libraries"
    for each in sorted(cache.glob("*/pandas")):
        return each.parent
    found = importlib.util.find_spec("pandas")
    return Path(found.origin).parent.parent if found and found.origin else None


def _copy(source: Path, target: Path) -> None:
    import shutil

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
