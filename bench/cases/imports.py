"""What a thaw saves: numpy and pandas imported by a fresh process, beside the thaw of a process that has them; in turns.

SOJOURN_BENCH_COLD=1 has it done once more with the machine's cache of files dropped before each.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tests.integration.shim.icebox import CONTEXT, KEY, Icebox
from tests.integration.shim.test_freezing_kinds import Program

from bench.cases import frozen_runs
from bench.measure import row
from sojourn.executor_shim import freezing
from sojourn.executor_shim.freezing import images, places
from sojourn.executor_shim.process_tree import resident_bytes

_ROUNDS, _WARM = 15, 1
_STANDS = "os.write(1, b'ready\\n'); os.read(3, 1); os.write(1, b'ok\\n')"
_AIM_MB = {"plain": 12, "pandas": 40}
Times = dict[str, list[float]]


def main() -> None:
    """Rows of both ways, their ratio, and what the images weigh. Needs pandas to be importable, and root."""
    if why := missing():
        print(f"imports: skipped, {why}", flush=True)
        return
    text = f"import os, sys; sys.path[:] = {sys.path!r}; import numpy, pandas"
    icebox = Icebox({"network": "none"})
    try:
        for name, program in (("plain", "import os"), ("pandas", text)):
            sealed, resident = _image(icebox, program)
            row(f"image of {name}", resident_MB=resident / (1 << 20), sealed_MB=len(sealed) / (1 << 20), aim=_AIM_MB[name])
        _compare(icebox, text, sealed, lambda: None)
        if os.environ.get("SOJOURN_BENCH_COLD") == "1":
            print("  the same, each time with the kernel's cache of files dropped before:", flush=True)
            _compare(icebox, text, sealed, _drop_cache)
    finally:
        icebox.close()


def _compare(icebox: Icebox, text: str, sealed: bytes, before: Callable[[], None]) -> None:
    """Rows of both ways, in turns; `before` is called before each."""
    times: Times = defaultdict(list)
    for number in range(_ROUNDS + _WARM):
        _round(icebox, text, sealed, before, times if number >= _WARM else defaultdict(list))
    for step, spent in times.items():
        row(step, p50_ms=statistics.median(spent) * 1e3, least_ms=min(spent) * 1e3, most_ms=max(spent) * 1e3)
    bare, inside, thaw = (statistics.median(times[step]) for step in times)
    row("imports, by the thaw", times_bare=bare / thaw, times_in_a_sandbox=inside / thaw, aim="at least 5")
    print(f"  load {os.getloadavg()[0]:.1f}", flush=True)


def _drop_cache() -> None:
    """What the kernel remembers of files, so that each is read from the disk: of the whole machine."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def missing() -> str:
    """What keeps it from being measured here; empty: nothing."""
    if find_spec("pandas") is None:
        return "there is no pandas: PYTHONPATH=$(tools/libraries/install.sh) has it"
    return frozen_runs.missing()


def _round(icebox: Icebox, text: str, sealed: bytes, before: Callable[[], None], times: Times) -> None:
    before()
    begun = time.perf_counter()
    bare = [sys.executable, "-I", "-c", f"{text}; os.write(1, b'ready')"]
    subprocess.run(bare, check=True, stdout=subprocess.PIPE)  # its end, too: some ms
    times["a fresh process imports numpy and pandas"].append(time.perf_counter() - begun)
    before()
    begun = time.perf_counter()
    program = Program(icebox, f"{text}; {_STANDS}")
    program.until("ready")
    times["the same in a fresh sandbox"].append(time.perf_counter() - begun)
    program.end()
    before()
    begun = time.perf_counter()
    with places.workplace() as place:
        images.unpack(io.BytesIO(sealed), f"{place}/image", KEY, CONTEXT)
        thawed = Program(icebox, image=f"{place}/image")
        thawed.process.go_on()
        thawed.tell()
        thawed.until("ok")
        times["thawed out of its sealed image, to its next line"].append(time.perf_counter() - begun)
    thawed.end()


def _image(icebox: Icebox, text: str) -> tuple[bytes, int]:
    """The sealed image of a process that has run so far, and its resident bytes."""
    program, sealed = Program(icebox, f"{text}; {_STANDS}"), io.BytesIO()
    program.until("ready")
    resident = resident_bytes(program.process.pid)
    criu = freezing.find_criu()
    assert criu
    with places.workplace() as place:
        directory = os.open(place, os.O_RDONLY)
        private = program.process.freeze(directory, criu)
        images.pack(directory, private, sealed, KEY, CONTEXT)
        for fd in (directory, *private.values()):
            os.close(fd)
    program.end()
    return sealed.getvalue(), resident
