"""A waiting process to a sealed image and back, beside bare criu and zstd on the same program, in turns."""

from __future__ import annotations

import io
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.integration.shim.icebox import CONTEXT, KEY, Icebox
from tests.integration.shim.test_freezing_kinds import Program

from bench.measure import row
from sojourn.executor_shim import freezing
from sojourn.executor_shim.freezing import images, places
from sojourn.executor_shim.process_tree import resident_bytes

_ROUNDS, _WARM = 15, 1
#: Half of what a task holds is text that repeats, half is not to be compressed; 55 MB with the interpreter.
_HOLDS = "import os; a = os.urandom(25 << 20); b = [b'%d %d' % (n, n * n) for n in range(300_000)]"
_PANDAS = "import pandas, numpy; f = pandas.DataFrame(numpy.arange(1_000_000).reshape(-1, 10)); f.describe()"
_STANDS = "\nos.write(1, b'ready\\n'); os.read(3, 1); os.write(1, b'ok\\n')"
Times = dict[str, list[float]]


def main() -> None:
    """Rows of each step, in ms, and what an image weighs."""
    why = "only root can" if os.geteuid() != 0 else freezing.obstacle()
    if why:
        print(f"freezing: skipped, {why}", flush=True)
        return
    icebox = Icebox({"network": "filtered"})
    try:
        times: Times = defaultdict(list)
        sizes: dict[str, int] = {}
        for number in range(_ROUNDS + _WARM):
            counted = times if number >= _WARM else defaultdict(list)
            sizes = _round(icebox, counted)
            _bare_round(counted)
        for step, spent in times.items():
            row(
                f"freezing: {step}",
                p50_ms=statistics.median(spent) * 1e3,
                least_ms=min(spent) * 1e3,
                most_ms=max(spent) * 1e3,
            )
        _compare(times)
        _weigh("55 MB process", sizes)
        _weigh("plain interpreter", _size_of(icebox, "import os"))
        if find_spec("pandas"):
            _weigh("pandas and a frame of 8 MB", _size_of(icebox, f"import os; {_PANDAS}"))
    finally:
        icebox.close()


def _compare(times: Times) -> None:
    """There and back by what the same took with bare criu and zstd, by medians."""
    if "bare tar and zstd -1" not in times:
        print("freezing: there is no zstd to compare with", flush=True)
        return
    of = {step: statistics.median(spent) for step, spent in times.items()}
    there = of["until it is packed and sealed, too"] / (of["bare criu dump"] + of["bare tar and zstd -1"])
    back = of["from the image to its next line"] / (of["bare unzstd and tar"] + of["bare criu restore"])
    row("freezing: by bare criu and zstd", times_freeze=there, times_thaw=back, aim="at most 1.5 each")


def _weigh(what: str, sizes: dict[str, int]) -> None:
    told = {f"{name}_MB": size / (1 << 20) for name, size in sizes.items()}
    row(f"freezing: {what}", **told)


def _round(icebox: Icebox, times: Times) -> dict[str, int]:
    """Once there and back, in Sojourn's sandboxes; the sizes of it."""
    program = Program(icebox, _HOLDS + _STANDS)
    program.until("ready")
    sealed = io.BytesIO()
    resident = resident_bytes(program.process.pid)
    with places.workplace() as place:
        begun = time.perf_counter()
        with _opened(place) as directory:
            private = program.process.freeze(directory, _criu())
            times["until it stands still, dumped"].append(time.perf_counter() - begun)
            packed = images.pack(directory, private, sealed, KEY, CONTEXT)
        times["until it is packed and sealed, too"].append(time.perf_counter() - begun)
        for fd in private.values():
            os.close(fd)
    program.end()
    sealed.seek(0)
    with places.workplace() as place:
        begun = time.perf_counter()
        images.unpack(sealed, f"{place}/image", KEY, CONTEXT)
        times["verified and unpacked"].append(time.perf_counter() - begun)
        again = time.perf_counter()
        thawed = Program(icebox, image=f"{place}/image")
        times["restored in a fresh sandbox, and looked at"].append(time.perf_counter() - again)
    thawed.process.go_on()
    thawed.tell()
    thawed.until("ok")
    times["from the image to its next line"].append(time.perf_counter() - begun)
    thawed.end()
    return {"resident": resident, "plain": packed.plain, "sealed": packed.sealed}


def _bare_round(times: Times) -> None:
    """The same program as root, without a sandbox; criu as anybody would call it, and zstd on what it wrote."""
    place = tempfile.mkdtemp(prefix="bare-", dir="/dev/shm")
    text = f"{_HOLDS}\nimport time\nos.write(1, b'ready\\n')\ntime.sleep(600)"
    output = Path(place) / "output"
    with output.open("wb") as file:
        begun = subprocess.Popen(
            [sys.executable, "-I", "-c", text], stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    while output.read_bytes() != b"ready\n":
        time.sleep(0.01)
    image = Path(place) / "image"
    image.mkdir()
    usual = ["-D", str(image), "-v0", "--manage-cgroups=ignore"]
    try:
        _timed(times, "bare criu dump", [_criu(), "dump", "-t", str(begun.pid), *usual])
        begun.wait()
        if zstd := shutil.which("zstd"):
            tar = f"tar -C {image} -cf - . | {zstd} -q -1 -o {place}/tar.zst"
            _timed(times, "bare tar and zstd -1", ["sh", "-c", tar])
            _timed(
                times,
                "bare unzstd and tar",
                ["sh", "-c", f"mkdir {place}/again; {zstd} -q -d -c {place}/tar.zst | tar -C {place}/again -xf -"],
            )
        _timed(times, "bare criu restore", [_criu(), "restore", *usual, "--restore-detached"])
        os.kill(begun.pid, signal.SIGKILL)
    finally:
        shutil.rmtree(place)


def _timed(times: Times, step: str, command: list[str]) -> None:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    times[step].append(time.perf_counter() - begun)


def _size_of(icebox: Icebox, text: str) -> dict[str, int]:
    program = Program(icebox, text + _STANDS)
    program.until("ready")
    resident = resident_bytes(program.process.pid)
    with places.workplace() as place, _opened(place) as directory:
        private = program.process.freeze(directory, _criu())
        packed = images.pack(directory, private, io.BytesIO(), KEY, CONTEXT)
        for fd in private.values():
            os.close(fd)
    program.end()
    return {"resident": resident, "plain": packed.plain, "sealed": packed.sealed}


@contextmanager
def _opened(place: str) -> Iterator[int]:
    fd = os.open(place, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def _criu() -> str:
    found = freezing.find_criu()
    assert found
    return found
