"""Executors that start out of an image of a process that has imported: made once, in idle time, and never in the way."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess, offered, told
from tests.integration.shim.worker_server import WorkerServer
from tests.support.freezers import needs_freezing

from sojourn.executor_shim.process_tree import descendants
from sojourn.executor_shim.starts import checks
from sojourn.executor_shim.starts.shelf import Shelf, StartImage, write_about
from sojourn.sdk import archive
from sojourn.sdk.manifest import to_pack

PROJECT = Path(__file__).parent / "starting_project"
SANDBOX = {"mode": "required", "network": "none"}
PATIENCE = 90.0
Start = Callable[..., ShimProcess]


@pytest.fixture
def content_hash(server: WorkerServer) -> str:
    needs_freezing()
    return offered(server, PROJECT)


@pytest.fixture
def sandbox() -> dict[str, Any]:
    return SANDBOX


class Node:
    """One node's executors, one after another."""

    def __init__(self, server: WorkerServer, start: Start, directory: Path, content_hash: str):
        self.server = server
        self.start = start
        self.shelf = Shelf(str(directory / "versions"))
        self.content_hash = content_hash
        self.busy: list[ShimProcess] = []

    def images(self, version: str = "") -> list[StartImage]:
        return self.shelf.images(version or self.content_hash)

    def parts(self) -> list[Path]:
        """What is being made, or thawed."""
        place = Path(self.shelf.of(self.content_hash))
        return list(place.glob(".*")) if place.exists() else []

    def run(self, task: str = "look", payload: Any = None, settings: dict[str, Any] | None = None, **more: Any) -> Any:
        """What a run of a fresh executor returns; the executor ends by itself when it has nothing else to do."""
        shim = self.start(**{"idle_timeout": 0.1} | (settings or {}))
        output = told(self.server, task, payload, **more)
        assert shim.wait(PATIENCE) == 0
        self.log = shim.log.read_text()
        return output

    def begin(self, task: str = "look", payload: Any = None, settings: dict[str, Any] | None = None, **more: Any) -> Any:
        """What a run of a fresh executor returns, which then has another, without an end."""
        self.busy.append(self.start(**(settings or {})))
        output = told(self.server, task, payload, **more)
        stay = self.server.give("stay", 60)
        self.server.wait_for(lambda: stay in self.server.given)
        return output

    def end(self) -> None:
        """Ends those that are busy, as a node that is drained does."""
        for shim in self.busy:
            shim.process.terminate()
            assert shim.wait(PATIENCE) == 0

    def await_silence(self) -> None:
        """Until no question is open, of one that asks no more: it would take the next run."""
        self.until(lambda: not self.server.asking, "silence")

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, what
            time.sleep(0.02)
        return found


@pytest.fixture
def node(server: WorkerServer, start: Start, tmp_path: Path, content_hash: str) -> Node:
    return Node(server, start, tmp_path, content_hash)


def test_the_second_executor_starts_out_of_an_image(node: Node) -> None:
    first = node.run()
    image = node.images()[0]
    assert image.file == "tasks.py" and image.figures.is_worth_it
    second, third = (node.begin(payload=number) for number in (2, 3))  # which live at the same time
    assert second["birth"] == third["birth"] != first["birth"]
    assert [second["payload"], third["payload"]] == [2, 3]
    for name in ("left", "threads", "directory"):
        assert first[name] == second[name] == third[name]
    for name in ("executor", "namespace", "uid", "random", "tls"):
        assert second[name] != third[name], name
    for each in (second, third):
        assert each["key"] == "tr_dev_test" and each["owner"] == each["uid"]
    node.end()
    assert len(node.images()) == 1
    assert len(node.images()[0].figures.thaws) > 1


def test_a_process_out_of_an_image_serves_further_runs(node: Node) -> None:
    node.run()
    shim = node.start()
    first, second = (told(node.server, "look", number) for number in (1, 2))
    assert first["birth"] == second["birth"] and first["random"] != second["random"]
    assert first["variables"] == []
    with_variables = told(node.server, "look", 3, variables={"OF_A_RUN": "yes"})  # needs a process of its own
    assert with_variables["birth"] != first["birth"] and with_variables["variables"] == ["OF_A_RUN"]
    shim.process.terminate()
    assert shim.wait() == 0


# --- variables


def test_variables_that_the_import_did_not_look_up_come_with_an_image(node: Node) -> None:
    canary = "canary-of-a-variable"
    first = node.run("show", file="reading.py", variables={"OF_A_RUN": canary})
    [image] = node.images()
    assert image.looked is not None and "READ_AT_IMPORT" in image.looked and "OF_A_RUN" not in image.looked
    whole = b"".join(path.read_bytes() for path in Path(image.path).rglob("*") if path.is_file())
    assert b"READ_AT_IMPORT" in whole and canary.encode() not in whole
    for variables in ({"OF_A_RUN": "2"}, {"OF_A_RUN": "3", "OF_MORE": "yes"}, {}):
        after = node.run("show", file="reading.py", variables=variables)
        assert after["variables"] == variables and after["native"] == variables.get("OF_A_RUN")
        assert after["set"] == "yes"
        birth = node.run("show", file="reading.py", variables=variables)["birth"]
        assert birth == after["birth"] != first["birth"]
    assert [each.path for each in node.images()] == [image.path]


@pytest.mark.parametrize(
    ("file", "name"), [("reading.py", "READ_AT_IMPORT"), ("reading.py", "OMP_NUM_THREADS"), ("whole.py", "OF_A_RUN")]
)
def test_an_import_that_may_have_looked_them_up_is_done_with_them(node: Node, file: str, name: str) -> None:
    variables = {name: "yes"}
    births = {node.run("show", file=file, variables=variables)["birth"]}
    [image] = node.images()
    for _ in range(2):
        told_of = node.run("show", file=file, variables=variables)
        assert told_of["read"] == variables.get("READ_AT_IMPORT", "nothing") and told_of["variables"] == variables
        births.add(told_of["birth"])
    assert len(births) == 3
    kept = node.images()[0]
    assert kept.path == image.path and kept.figures.thaws[-2:] == (image.figures.fresh,) * 2  # it was no use
    without = [node.run("show", file=file) for _ in range(2)]
    assert without[0]["birth"] == without[1]["birth"] and without[0]["read"] == "nothing"


def test_a_process_that_waits_for_a_run_takes_one_with_variables(node: Node) -> None:
    node.run("show", file="reading.py", variables={"OF_A_RUN": "1"})
    asked = len(node.server.nexts)
    shim = node.start(poll=0.2)
    node.server.wait_for(lambda: len(node.server.nexts) > asked + 1)  # it had no run at once
    waiting = set(descendants(shim.pid))
    first = told(node.server, "show", file="reading.py", variables={"OF_A_RUN": "2"})
    assert first["variables"] == {"OF_A_RUN": "2"} and shim.outside(first["pid"]) in waiting
    again = told(node.server, "show", file="reading.py", variables={"OF_A_RUN": "2"})
    assert again["pid"] == first["pid"] and again["birth"] == first["birth"]
    other = told(node.server, "show", file="reading.py", variables={"OF_A_RUN": "3"})  # its run may have looked it up
    assert other["variables"] == {"OF_A_RUN": "3"} and shim.outside(other["pid"]) not in waiting
    shim.process.terminate()
    assert shim.wait() == 0


# --- what is not used


def _flip(image: Path) -> None:
    pages = image / "pages-1.img"
    data = bytearray(pages.read_bytes())
    data[len(data) // 2] ^= 1
    pages.write_bytes(data)


def _cut(image: Path) -> None:
    pages = image / "pages-1.img"
    os.truncate(pages, pages.stat().st_size - 4096)


def _lose(image: Path) -> None:
    (image / "files.img").unlink()


def _alter(image: Path) -> None:
    next((image / "tmp").rglob("cache")).write_text("lost")


@pytest.mark.parametrize("damage", [_flip, _cut, _lose, _alter])
def test_a_damaged_image_is_dropped_and_made_anew(node: Node, damage: Callable[[Path], None]) -> None:
    node.run()
    [image] = node.images()
    damage(Path(image.path))
    second = node.run()
    assert second["left"] == "kept" and "is dropped" in node.log
    [anew] = node.images()
    assert anew.path != image.path and not Path(image.path).exists()
    third, fourth = node.run(), node.run()
    assert third["birth"] == fourth["birth"] != second["birth"]


def _resign(image: StartImage) -> None:
    """Makes what was damaged pass for what was written."""
    fd = os.open(image.path, os.O_RDONLY)
    try:
        write_about(image.path, image.facts, image.file, checks.taken(fd), image.looked)
    finally:
        os.close(fd)


def test_an_image_that_criu_refuses_is_dropped(node: Node) -> None:
    node.run()
    [image] = node.images()
    memory = Path(image.path, "mm-20001.img")
    memory.write_bytes(memory.read_bytes()[:-200])
    _resign(image)
    assert node.run()["left"] == "kept"
    assert "criu could not restore it" in node.log
    assert image.path not in [each.path for each in node.images()]


def test_a_process_that_ends_at_once_is_replaced_by_a_fresh_one(node: Node) -> None:
    node.run()
    [image] = node.images()
    pages = Path(image.path, "pages-1.img")
    pages.write_bytes(bytes(pages.stat().st_size))
    _resign(image)
    assert node.run()["left"] == "kept"
    assert node.run()["left"] == "kept"


def test_each_file_has_its_own(node: Node) -> None:
    first, other = node.run(), node.run("other", file="others.py")
    assert {image.file for image in node.images()} == {"tasks.py", "others.py"}
    second = node.run()
    assert second["birth"] not in (first["birth"], other["birth"])
    assert node.run()["birth"] == second["birth"]  # whichever was used last


def test_who_waits_for_a_run_has_a_process_ready_and_imports_what_that_lacks(node: Node) -> None:
    node.run()
    [image] = node.images()
    asked = len(node.server.nexts)
    shim = node.start(poll=0.2)
    node.server.wait_for(lambda: len(node.server.nexts) > asked + 1)  # it had no run at once
    assert told(node.server, "other", file="others.py")["birth"]
    birth = told(node.server, "look")["birth"]
    shim.process.terminate()
    assert shim.wait() == 0
    node.await_silence()
    assert node.run()["birth"] == birth
    assert image.path in [each.path for each in node.images()]


def test_another_version_has_its_own(node: Node, tmp_path: Path) -> None:
    first = node.run()
    changed = tmp_path / "changed"
    shutil.copytree(PROJECT, changed, ignore=shutil.ignore_patterns("__pycache__"))
    (changed / "more.py").write_text("")
    packed, other = archive.pack(changed)
    node.server.archives[other] = packed
    [image] = node.images()
    second = node.run(settings={"version_hash": other})
    assert len({first["birth"], second["birth"]}) == 2
    assert [len(node.images()), len(node.images(other))] == [1, 1] and node.images()[0].figures == image.figures


def test_hooks_of_another_file_hold_in_what_comes_out_of_an_image(node: Node, tmp_path: Path) -> None:
    project = tmp_path / "hooked"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    hooks = "from sojourn import logger, tasks\n@tasks.on_complete\ndef told():\n    logger.info('told by a hook')\n"
    (project / "hooks.py").write_text(hooks)
    packed, version = archive.pack(project, to_pack({"hookFiles": ["hooks.py"]}))
    node.server.archives[version] = packed
    births = []
    for _ in range(2):
        births.append(node.run(settings={"version_hash": version})["birth"])
        run = list(node.server.given)[-1]
        assert "told by a hook" in [line["message"] for line in node.server.log(run)]
    assert len(node.images(version)) == 1 and births[0] != births[1]
    assert node.begin(settings={"version_hash": version})["birth"] == births[1]
    node.end()


def test_what_was_imported_by_other_code_or_settings_is_not_used(node: Node) -> None:
    node.run()
    [image] = node.images()
    for change in ({"boot": "another"}, {"platform": []}, {"options": {}}, {"format": 0}):
        write_about(image.path, image.facts | change, image.file, image.files, image.looked)
        first = node.run(settings={"idle_timeout": 0.1, "restored_starts": "auto", "sandbox": SANDBOX})
        [image] = node.images()
        assert node.run()["birth"] != first["birth"]


def test_one_that_is_slower_is_not_taken(node: Node) -> None:
    node.run()
    [image] = node.images()
    image.note(image.figures._replace(thaws=(9e9,)))
    first, second = node.run(), node.run()
    assert first["birth"] != second["birth"]
    assert node.images()[0].path == image.path  # it is tried again, but not at once


# --- what is not made


def test_off_means_neither_taken_nor_made(node: Node) -> None:
    first = node.run(settings={"restored_starts": "off"})
    assert not node.shelf.has_any(node.content_hash)
    node.run()
    assert node.images()
    second, third = (node.run(settings={"restored_starts": "off"}) for _ in range(2))
    assert len({first["birth"], second["birth"], third["birth"]}) == 3


def test_without_a_sandbox_there_is_none(node: Node) -> None:
    told_of = node.run(settings={"sandbox": "off"})
    assert told_of["left"] == "kept" and not node.shelf.has_any(node.content_hash)


def test_what_cannot_be_imported_without_variables_makes_none_and_is_tried_once(node: Node) -> None:
    shim = node.start(idle_timeout=0.1)
    outcome = node.server.result(node.server.give("needy", file="needy.py"))["outcome"]
    assert outcome["error"]["code"] == "COULD_NOT_IMPORT_TASK"
    assert shim.wait() == 0
    assert not node.shelf.has_any(node.content_hash)
    needs: dict[str, Any] = {"file": "needy.py", "variables": {"OF_A_RUN": "it"}}
    assert node.run("needy", **needs) == "it"
    assert "needy.py cannot be imported without a run's variables" in node.log
    [note] = node.images()
    assert note.files == [] and not note.figures.is_worth_it and node.parts() == []
    assert node.run("needy", **needs) == "it"
    assert "image" not in node.log and [each.path for each in node.images()] == [note.path]


def test_no_secret_of_a_run_is_in_an_image(node: Node) -> None:
    canaries = ["canary-of-payload", "tr_dev_canary_of_key", "token-run_1", "canary-of-result"]
    first = node.run(payload="canary-of-payload" + "canary-of-result", secretKey="tr_dev_canary_of_key")
    assert first["key"] == "tr_dev_canary_of_key"
    [image] = node.images()
    files = [path for path in Path(image.path).rglob("*") if path.is_file()]
    assert {"pages-1.img", "about.json", "cache"} <= {path.name for path in files}
    whole = b"".join(path.read_bytes() for path in files)
    assert b"sojourn-cancel" in whole  # the name of a thread: one would see it
    assert [name for name in (*canaries, "Bearer") if name.encode() in whole] == []
    for path in (Path(image.path), Path(image.path).parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700 and path.stat().st_uid == 0


# --- makers


def test_many_executors_make_one(node: Node) -> None:
    shims = [node.start(idle_timeout=0.3) for _ in range(3)]
    runs = [node.server.give("stay", 0.5) for _ in shims]
    for run in runs:
        assert node.server.result(run)["outcome"]["ok"]
    assert [shim.wait(PATIENCE) for shim in shims] == [0, 0, 0]
    assert len(node.images()) == 1 and node.parts() == []


def test_a_run_that_comes_while_one_is_made_goes_first(node: Node) -> None:
    node.start(idle_timeout=30)
    first = told(node.server, "look")
    node.until(node.parts, "an image is being made")
    second = told(node.server, "look")
    assert node.images() == [] and first["birth"] == second["birth"]
    node.until(node.images, "an image")  # made when there is nothing else to do
    assert node.parts() == []


def test_an_executor_that_is_told_to_leave_leaves(node: Node) -> None:
    shim = node.start(idle_timeout=30)
    told(node.server, "look")
    node.until(node.parts, "an image is being made")
    shim.process.terminate()
    assert shim.wait() == 0
    assert node.images() == [] and node.parts() == []


def test_what_a_killed_maker_left_is_removed(node: Node) -> None:
    shim = node.start(idle_timeout=30, poll=0.2)  # its last question is soon over
    told(node.server, "look")
    [left] = node.until(node.parts, "an image is being made")
    shim.process.kill()
    shim.wait()
    assert node.parts() == [left]
    node.await_silence()
    node.run()
    assert len(node.images()) == 1 and node.parts() == []


def test_an_image_goes_with_its_version(node: Node, tmp_path: Path) -> None:
    node.run()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tasks.py").write_text(
        "from sojourn import task\n\n\n@task\ndef nothing(payload):\n    return 1\n"
    )
    packed, other = archive.pack(tmp_path / "other")
    node.server.archives[other] = packed
    node.run("nothing", settings={"version_hash": other, "max_trees": 1})
    left = {each.name for each in (tmp_path / "versions").iterdir()}
    assert not [name for name in left if name.startswith(node.content_hash)]
    assert other in left
