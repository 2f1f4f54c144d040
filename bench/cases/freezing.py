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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.integration.shim.icebox import CONTEXT, KEY, Icebox
from tests.integration.shim.test_freezing_kinds import Program

from bench.measure import row
from sojourn.control_plane.store.object_directory import DirectoryObjects
from sojourn.control_plane.store.objects import CHUNK
from sojourn.executor_shim import freezing
from sojourn.executor_shim.freezing import images, places
from sojourn.executor_shim.process_tree import resident_bytes

_ROUNDS, _WARM = 15, 1
#: On the disk that an object store's directory is likely to be on.
_DISK = "/var/tmp"
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
            _published_round(icebox, counted)
            _bare_published_round(counted)
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
    published = of["until it is published on a disk"] / of["bare criu dump, tar and zstd -1 to that disk"]
    row("freezing: the same until it is on a disk", times_freeze=published, aim="at most 1.5")


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


def _published_round(icebox: Icebox, times: Times) -> None:
    """Until the image is in the object store, which is a directory on a disk: packed and written at once."""
    program = Program(icebox, _HOLDS + _STANDS)
    program.until("ready")
    with tempfile.TemporaryDirectory(prefix="objects-", dir=_DISK) as root, places.workplace() as place:
        begun = time.perf_counter()
        with _opened(place) as directory:
            private = program.process.freeze(directory, _criu())
            _put(DirectoryObjects(Path(root)), directory, private)
        times["until it is published on a disk"].append(time.perf_counter() - begun)
        for fd in private.values():
            os.close(fd)
    program.end()


def _put(objects: DirectoryObjects, directory: int, private: dict[str, int]) -> None:
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1) as thread, open(reading, "rb") as source:
        stored = thread.submit(objects.put, "image", iter(lambda: source.read(CHUNK), b""))
        with open(writing, "wb") as out:
            images.pack(directory, private, out, KEY, CONTEXT)
        stored.result()


@contextmanager
def _bare_program() -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """The same program as root, without a sandbox; a place in memory, and an empty directory `image` in it."""
    place = Path(tempfile.mkdtemp(prefix="bare-", dir="/dev/shm"))
    text = f"{_HOLDS}\nimport time\nos.write(1, b'ready\\n')\ntime.sleep(600)"
    output = place / "output"
    with output.open("wb") as file:
        begun = subprocess.Popen(
            [sys.executable, "-I", "-c", text], stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        while output.read_bytes() != b"ready\n":
            time.sleep(0.01)
        (place / "image").mkdir()
        yield place, begun
    finally:
        begun.kill()
        begun.wait()
        shutil.rmtree(place)


def _bare_published_round(times: Times) -> None:
    """Bare criu, and what it wrote through tar and zstd into a file that is on the disk in the end."""
    zstd = shutil.which("zstd")
    if zstd is None:
        return
    with tempfile.TemporaryDirectory(prefix="bare-", dir=_DISK) as root, _bare_program() as (place, begun):
        dump = f"{_criu()} dump -t {begun.pid} -D {place}/image -v0 --manage-cgroups=ignore"
        packed = f"tar -C {place}/image -cf - . | {zstd} -q -1 -o {root}/tar.zst"
        command = ["sh", "-ec", f"{dump}; {packed}; sync {root}/tar.zst"]
        _timed(times, "bare criu dump, tar and zstd -1 to that disk", command)


def _bare_round(times: Times) -> None:
    """Criu as anybody would call it, and zstd on what it wrote; all in memory."""
    with _bare_program() as (place, begun):
        usual = ["-D", str(place / "image"), "-v0", "--manage-cgroups=ignore"]
        _timed(times, "bare criu dump", [_criu(), "dump", "-t", str(begun.pid), *usual])
        begun.wait()
        if zstd := shutil.which("zstd"):
            tar = f"tar -C {place}/image -cf - . | {zstd} -q -1 -o {place}/tar.zst"
            _timed(times, "bare tar and zstd -1", ["sh", "-c", tar])
            again = f"mkdir {place}/again; {zstd} -q -d -c {place}/tar.zst | tar -C {place}/again -xf -"
            _timed(times, "bare unzstd and tar", ["sh", "-c", again])
        _timed(times, "bare criu restore", [_criu(), "restore", *usual, "--restore-detached"])
        os.kill(begun.pid, signal.SIGKILL)


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
