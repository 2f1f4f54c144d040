"""Criu that hangs, is killed, has no room, is given an image of somebody else's: the run is never lost, and never more."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.icebox import CONTEXT, KEY, Icebox, Resident
from tests.support.freezers import needs_freezing

from sojourn.executor_shim import freezing
from sojourn.executor_shim.freezing import images, places, protobuf
from sojourn.executor_shim.freezing.errors import CheckpointInvalid, FreezeFailed, ThawFailed
from sojourn.executor_shim.process_tree import children, is_zombie
from sojourn.executor_shim.sandbox.layout import USER_PID
from sojourn.executor_shim.sandbox.process import SandboxedProcess

ROOT = 0


@pytest.fixture(scope="module")
def icebox() -> Iterator[Icebox]:
    needs_freezing()
    made = Icebox()
    yield made
    made.close()


@pytest.fixture
def resident(icebox: Icebox) -> Iterator[Resident]:
    """One that stands."""
    made = icebox.start()
    made.run("nothing", {"ballast": 10})
    made.until_standing("go-0")
    yield made
    made.end()


def wrapper(directory: Path, text: str) -> str:
    """A program in criu's place."""
    path = directory / "criu"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def finishes(resident: Resident) -> bool:
    """Whether the run ends as it would have without all this."""
    resident.let_go("go-0")
    return bool(resident.output_of_run()["ballast"] == 10 << 20)


def freeze(resident: Resident, criu: str, seconds: float = 60.0) -> None:
    """Into a directory that is gone afterwards."""
    with places.workplace() as place:
        directory = os.open(place, os.O_RDONLY)
        try:
            resident.child.freeze(directory, criu, seconds).close()
        finally:
            os.close(directory)


@pytest.mark.parametrize(
    ("text", "seconds", "why"),
    [
        ("exec sleep 100", 0.5, "criu was not done in 0.5 s and was killed"),
        ("trap '' TERM INT HUP; while :; do sleep 1; done", 0.5, "criu was not done in 0.5 s and was killed"),
        ("kill -STOP $$", 0.5, "criu was not done in 0.5 s and was killed"),
        ("kill -KILL $$", 30, "criu was ended by signal 9"),
        ("echo no criu >&2; exit 3", 30, "criu refused: it said nothing"),
    ],
)
def test_a_dump_that_does_not_come_to_its_end(
    resident: Resident, tmp_path: Path, text: str, seconds: float, why: str
) -> None:
    with pytest.raises(FreezeFailed) as failed:
        freeze(resident, wrapper(tmp_path, text), seconds)
    assert str(failed.value) == why
    assert finishes(resident)


def test_criu_killed_at_any_moment_leaves_the_run_alive_or_ended(icebox: Icebox) -> None:
    """What criu had put into the process ends with criu; afterwards it can be frozen all the same.

    Where criu dies while code of its own runs in the process, up to a trap that is for criu, the process ends by a signal.
    """
    criu, dice, fates, killed = freezing.find_criu(), random.Random(7), [], 0
    assert criu
    for _ in range(12):
        resident = icebox.start()
        resident.run("nothing", {"ballast": 10})
        resident.until_standing("go-0")
        killer = threading.Thread(target=kill_criu, args=(resident, dice.uniform(0, 0.07)))
        killer.start()
        why = ""
        try:
            freeze(resident, criu)
            resident.child.go_on()
        except FreezeFailed as failed:
            why = str(failed)
        killer.join()
        assert why in ("", "criu was ended by signal 9")
        killed += bool(why)
        fates.append(ended_by(resident))
        resident.end()
        assert fates[-1] is None or why, "nothing was done to it"
    assert killed and None in fates


def ended_by(resident: Resident) -> signal.Signals | None:
    """The signal that has ended it. None: it can be frozen, and finishes."""
    criu = freezing.find_criu()
    assert criu
    try:
        freeze(resident, criu)
        resident.child.go_on()
        resident.let_go("go-0")
    except FreezeFailed:  # as there is no process: one that is left is heard of no more
        resident.until(lambda each: each.child.exit_code is not None, "its end")
    resident.until(lambda each: each.child.exit_code is not None or outcomes(each), "its end")
    if resident.child.exit_code is not None:
        return signal.Signals(-resident.child.exit_code)
    assert resident.output_of_run()["ballast"] == 10 << 20
    return None


def outcomes(resident: Resident) -> list[dict[str, Any]]:
    return [each for each in resident.messages if each["type"] == "outcome"]


def test_a_process_that_ends_with_criu_has_ended_by_a_signal(resident: Resident, tmp_path: Path) -> None:
    """As where criu dies while its code runs in the process: see above. Who holds it learns both."""
    with pytest.raises(FreezeFailed, match="criu was ended by signal 9"):
        freeze(resident, wrapper(tmp_path, f"kill -TRAP {USER_PID}; kill -KILL $$"))
    assert ended_by(resident) == signal.SIGTRAP


def kill_criu(resident: Resident, after: float) -> None:
    """Once it is there: it, and never another that has its number by then."""
    deadline = time.monotonic() + 60
    while not (found := resident.process.strays()):
        if time.monotonic() > deadline:
            return
    with suppress(ProcessLookupError), open(os.pidfd_open(found[0])) as criu:
        time.sleep(after)
        signal.pidfd_send_signal(criu.fileno(), signal.SIGKILL)


def test_no_room_for_the_image(resident: Resident, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", str(small)], check=True)
    try:
        with places.workplace(str(small)) as place:
            directory = os.open(place, os.O_RDONLY)
            criu = freezing.find_criu()
            assert criu
            with pytest.raises(FreezeFailed, match=r"No space left on device|refused"):
                resident.child.freeze(directory, criu)
            os.close(directory)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert finishes(resident)


def test_a_thaw_that_does_not_come_to_its_end(icebox: Icebox, resident: Resident, tmp_path: Path) -> None:
    """Nothing of it is left, and the image is as good as before."""
    resident.freeze(tmp_path / "image")
    resident.end()
    with places.workplace() as place, (tmp_path / "image").open("rb") as source:
        images.unpack(source, f"{place}/image", KEY, CONTEXT)
        for text, why in (("exec sleep 100", "killed"), ("kill -STOP $$", "killed"), ("kill -KILL $$", "signal 9")):
            with pytest.raises(ThawFailed, match=why) as failed:
                thaw(icebox, f"{place}/image", wrapper(tmp_path, text), seconds=0.5)
            assert failed.value.code == "THAW_FAILED"
    thawed = icebox.thaw(tmp_path / "image")
    thawed.child.go_on()
    assert finishes(thawed)
    thawed.end()


def thaw(icebox: Icebox, image: str, criu: str, seconds: float = 30.0) -> SandboxedProcess:
    """A process out of an image's directory."""
    plan = icebox.plan({"PATH": os.environ["PATH"]})
    read, write = os.pipe()
    try:
        return SandboxedProcess.thawed(
            icebox.keeper, plan, {1: write, 2: write, 3: read, 4: read, 5: write}, image, criu, seconds
        )
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (dict.fromkeys(range(1, 9), lambda _: ROOT), "has Uid"),
        ({3: lambda _: ROOT}, "has Uid"),
        ({2: lambda _: ROOT}, "has Gid"),
        (dict.fromkeys((10, 11, 12), lambda _: 0x3F), "has capabilities"),
        ({18: lambda _: 0}, "lacks no_new_privs"),
    ],
)
def test_one_that_is_more_than_it_may_be_is_killed_before_it_runs(
    icebox: Icebox, resident: Resident, tmp_path: Path, forge: protobuf.Rules, why: str
) -> None:
    """As if a key had been stolen, and an image with it been forged."""
    criu = freezing.find_criu()
    assert criu
    resident.freeze(tmp_path / "image")
    with places.workplace() as place, (tmp_path / "image").open("rb") as source:
        images.unpack(source, f"{place}/image", KEY, CONTEXT)
        threads = [each for each in Path(f"{place}/image").glob("core-*.img") if each.stem != "core-20001"]
        core = threads[0]  # not even the thread that everybody looks at
        core.write_bytes(protobuf.rewritten_file(core.read_bytes(), {5: {10: forge}}))
        before = sandboxes(icebox)
        with pytest.raises(ThawFailed, match=why) as failed:
            thaw(icebox, f"{place}/image", criu)
        assert failed.value.code == "THAW_FAILED"
        deadline = time.monotonic() + 60
        while sandboxes(icebox) != before:  # the holder gives its slot back
            assert time.monotonic() < deadline
            time.sleep(0.01)


def sandboxes(icebox: Icebox) -> list[int]:
    """The keeper's, those that live."""
    return [each for each in children(icebox.keeper._pid) if not is_zombie(each)]


def test_an_image_that_lacks_its_process_is_no_image(icebox: Icebox, resident: Resident, tmp_path: Path) -> None:
    resident.freeze(tmp_path / "image")
    with places.workplace() as place, (tmp_path / "image").open("rb") as source:
        images.unpack(source, f"{place}/image", KEY, CONTEXT)
        for name in ("pstree.img", "core-20001.img", "process.json"):
            kept = Path(f"{place}/image/{name}").read_bytes()
            Path(f"{place}/image/{name}").write_bytes(kept[: len(kept) - 3])
            with pytest.raises(CheckpointInvalid):
                thaw(icebox, f"{place}/image", "/bin/false")
            Path(f"{place}/image/{name}").write_bytes(kept)
