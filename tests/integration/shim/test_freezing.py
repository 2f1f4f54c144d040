"""A user's process frozen in one sandbox and thawed in another: what it held is there, what it said is said once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.shim.icebox import Icebox, Resident
from tests.support.freezers import needs_freezing

from sojourn.executor_shim.process_tree import is_zombie

_PROFILE = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
            "Seccomp_filters")  # fmt: skip
MB = 1 << 20


@pytest.fixture(scope="module")
def icebox() -> Iterator[Icebox]:
    needs_freezing()
    made = Icebox()
    yield made
    made.close()


def profile(resident: Resident) -> set[tuple[str, ...]]:
    """Of all threads inside: what the kernel knows of their rights, with the sandbox's own user told as such."""
    found = set()
    for process in resident.process.members():
        for thread in Path(f"/proc/{process}/task").iterdir():
            fields = dict(line.split(":", 1) for line in (thread / "status").read_text().splitlines() if ":" in line)
            told = [fields[name].strip().replace(str(resident.process.uid), "user") for name in _PROFILE]
            found.add(tuple(told))
    return found


def moved(icebox: Icebox, resident: Resident, image: Path) -> Resident:
    """It goes on in another sandbox."""
    resident.freeze(image)
    thawed = icebox.thaw(image)
    resident.end()
    thawed.messages, thawed.output = resident.messages, resident.output
    thawed.child.go_on()
    return thawed


def test_a_run_goes_on_in_another_sandbox_as_another_user(icebox: Icebox, tmp_path: Path) -> None:
    first = icebox.start()
    first.run("nothing", {"ballast": 20})
    first.until_standing("go-0")
    before = profile(first)
    first.freeze(tmp_path / "image")
    second = icebox.thaw(tmp_path / "image")  # while the first has its slot still
    assert second.process.uid != first.process.uid
    assert profile(second) == before == {
        ("user\tuser\tuser\tuser", "user\tuser\tuser\tuser", "", *["0000000000000000"] * 5, "1", "2", "1")
    }  # fmt: skip
    assert not second.child.leaves_others()
    first.end()
    second.child.go_on()
    second.let_go("go-0")
    assert second.output_of_run() == {"pid": 20_001, "uid": second.process.uid, "ballast": 20 * MB, "secret": 11}
    second.child.hang_up()
    second.until(lambda each: each.child.exit_code is not None, "its end")
    assert second.child.exit_code == 0


def test_what_a_process_can_hold_is_there_again(icebox: Icebox, tmp_path: Path) -> None:
    first = icebox.start()
    first.run("everything", {"sleep": 1.0})
    first.until_standing()
    second = moved(icebox, first, tmp_path / "image")
    second.let_go()
    assert second.output_of_run() == {
        "slept": "slept", "counts": True, "clock": True, "pool": [1, 2], "echo": ["before\n", "after\n"], "echo exit": 0,
        "rows": [100, 4950], "notes": [2, "pt"], "gone": 3 * MB, "mapped": "hello", "shared": "abc", "memory": "in memory",
        "link": "/etc/passwd", "pair": "queued", "same": 2, "holes": [1 << 40, 0], "listens": True, "numbers": True,
        "uid": second.process.uid, "owners": [second.process.uid], "rung": True,
    }  # fmt: skip


def test_one_run_is_frozen_twenty_times(icebox: Icebox, tmp_path: Path) -> None:
    resident = icebox.start()
    resident.run("nothing", {"times": 20, "ballast": 1})
    for step in range(20):
        resident.until_standing(f"go-{step}")
        resident = moved(icebox, resident, tmp_path / "image")
        resident.let_go(f"go-{step}")
    assert resident.output_of_run()["ballast"] == MB


def test_what_is_under_way_is_neither_lost_nor_doubled(icebox: Icebox, tmp_path: Path) -> None:
    """Frames that are longer than a pipe, so that each freeze meets one that is half written."""
    resident = icebox.start()
    resident.run("chatty", {"padding": 200_000})
    for step in range(1, 9):
        resident.until(lambda each, least=7 * step: len(each.messages) > least, "lines")
        resident = moved(icebox, resident, tmp_path / "image")
    resident.let_go()
    count = resident.output_of_run()["count"]
    lines = [each["message"] for each in resident.messages if each["type"] == "log"]
    assert lines == [f"line {n}" for n in range(count)]
    printed = b"".join(b"printed %d\n" % n for n in range(count))
    resident.until(lambda each: len(each.output["stdout"]) >= len(printed), "what it printed")
    assert resident.output == {"stdout": printed, "stderr": b""}


def test_frames_that_the_process_had_not_taken_are_there_again(icebox: Icebox, tmp_path: Path) -> None:
    """One that is longer than the pipe: a part is in it, the rest still with the shim."""
    resident = icebox.start()
    resident.run("nothing")
    resident.until_standing("go-0")
    resident.run("echo", {"text": "x" * 300_000})
    resident = moved(icebox, resident, tmp_path / "image")
    resident.let_go("go-0")
    resident.output_of_run()
    resident.messages.clear()
    assert resident.output_of_run() == {"text": "x" * 300_000}


def test_a_frozen_one_goes_on_where_it_is(icebox: Icebox, tmp_path: Path) -> None:
    """The wait was over before the suspension: nothing of the freeze is left, and it can be frozen again."""
    resident = icebox.start()
    resident.run("nothing", {"times": 3})
    for step in range(3):
        resident.until_standing(f"go-{step}")
        resident.freeze(tmp_path / "image")
        assert stands_still(resident)
        resident.process.thaw_in_place()
        resident.let_go(f"go-{step}")
    assert resident.output_of_run()["pid"] == 20_001


def stands_still(resident: Resident) -> bool:
    """Whether all that is inside is stopped."""
    states = [Path(f"/proc/{each}/status").read_text().split("State:\t")[1][0] for each in resident.process.members()]
    return set(states) == {"T"}


def test_an_image_that_is_restored_twice_stands_still_twice(icebox: Icebox, tmp_path: Path) -> None:
    """So that whoever has not won the claim ends his: nothing of it has run."""
    resident = icebox.start()
    resident.run("nothing")
    resident.until_standing("go-0")
    resident.freeze(tmp_path / "image")
    resident.end()
    one, other = icebox.thaw(tmp_path / "image"), icebox.thaw(tmp_path / "image")
    for each in (one, other):
        each.let_go("go-0")
        assert stands_still(each)
        assert each.events.wait(0) == []
    one.end()
    other.child.go_on()
    assert other.output_of_run()["pid"] == 20_001


@pytest.mark.parametrize("is_told", [True, False])
def test_two_processes_of_one_image_draw_other_numbers(icebox: Icebox, tmp_path: Path, is_told: bool) -> None:
    """On the platform one alone goes on, here both do. Not told that it was thawed, one is the other's twin."""
    resident = icebox.start()
    resident.run("draws")
    blocked = resident.until(lambda each: [m for m in each.messages if m.get("block")], "it waits")
    (key,) = blocked[-1]["pending"]
    resident.freeze(tmp_path / "image")
    resident.end()
    twins = [icebox.thaw(tmp_path / "image") for _ in range(2)]
    for each in twins:
        each.child.tell({"type": "done", "run": "run_1", "done": {key: {"ok": True, "kind": "date"}}, "thawed": is_told})
        each.child.go_on()
    one, other = (each.output_of_run() for each in twins)
    assert one["foretold"] == other["foretold"] and one["uuid"] != other["uuid"]
    if is_told:
        assert len({one["foretold"], one["random"], other["random"]}) == 3
        assert one["tls"] != other["tls"]
    else:
        assert one["random"] == other["random"] == one["foretold"]


def test_a_thawed_process_is_ended_as_any_other(icebox: Icebox, tmp_path: Path) -> None:
    resident = icebox.start()
    resident.run("everything", {"sleep": 60})
    resident.until_standing()
    resident.freeze(tmp_path / "image")
    resident.end()
    signalled, killed = icebox.thaw(tmp_path / "image"), icebox.thaw(tmp_path / "image")
    signalled.child.go_on()
    signalled.child.signal(signal.SIGUSR1)
    signalled.until(lambda each: each.child.exit_code is not None, "its end")
    assert signalled.child.exit_code == -signal.SIGUSR1
    for each in (signalled, killed):  # one whose main process has ended, one that is stopped
        inside = each.process.members()
        assert each.child.kill()
        assert all(is_zombie(pid) for pid in inside)
    assert killed.child.exit_code == -signal.SIGKILL


def test_memory_of_a_thawed_process_is_limited(icebox: Icebox, tmp_path: Path) -> None:
    resident = icebox.start()
    if resident.process.out_of_memory_kills() is None:
        pytest.skip("no control group for memory")
    resident.run("greedy", {"megabytes": 300})
    resident.until_standing()
    resident.freeze(tmp_path / "image")
    thawed = icebox.thaw(tmp_path / "image")
    resident.end()
    group = os.path.basename(thawed.process._group.directories["memory"])
    assert group in Path(f"/proc/{thawed.process.pid}/cgroup").read_text()
    thawed.process.limit_memory(128 * MB)
    thawed.child.go_on()
    thawed.let_go()
    thawed.until(lambda each: each.child.exit_code is not None, "its end")
    assert thawed.child.exit_code == -signal.SIGKILL
    assert thawed.child.kernel_kills.happened()
