"""What becomes of the sandbox on a node that cannot make one, or not all of it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess, told
from tests.integration.shim.worker_server import WorkerServer
from tests.support.freezers import needs_freezing
from tests.support.sandboxes import needs_sandboxes

from sojourn.sdk import archive

Start = Callable[..., ShimProcess]
PROJECT = Path(__file__).parent / "hostile"
#: Commands that take something from what they start.
WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
WITHOUT_GROUPS = ("unshare", "--mount", "sh", "-c", 'umount -l /sys/fs/cgroup && exec "$@"', "sh")


@pytest.fixture
def start(server: WorkerServer, tmp_path: Path) -> Iterator[Start]:
    """Starts an executor behind a command that takes something from it."""
    needs_sandboxes()
    packed, content_hash = archive.pack(PROJECT)
    server.archives[content_hash] = packed
    started: list[ShimProcess] = []

    def start_one(prefix: tuple[str, ...], *, driver: str = "", **options: Any) -> ShimProcess:
        options = {"mode": "auto", "network": "none", **options}
        shim = ShimProcess(server, tmp_path, content_hash, prefix=prefix, sandbox=options, driver=driver)
        started.append(shim)
        return shim

    yield start_one
    for shim in started:
        shim.end()


def test_auto_goes_without_where_none_can_be_made_and_says_so(server: WorkerServer, start: Start) -> None:
    shim = start(WITHOUT_PRIVILEGE)
    assert told(server, "try", ["status"])["status"]["uid"] == [0, 0, 0]
    assert "tasks run without a sandbox: " in shim.log.read_text()


def test_what_a_driver_isolates_by_itself_runs_without_any_privilege(server: WorkerServer, start: Start) -> None:
    """As root of a container does. Under exec they are nobody's, too: see the acceptance tests."""
    start(WITHOUT_PRIVILEGE, driver="docker")
    status = told(server, "try", ["status"])["status"]
    assert (status["uid"], status["NoNewPrivs"]) == ([0] * 3, "1")
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


def test_required_runs_nothing_where_none_can_be_made(server: WorkerServer, start: Start) -> None:
    shim = start(WITHOUT_PRIVILEGE, mode="required")
    error = server.result(server.give("hello"))["outcome"]["error"]
    assert (error["code"], "sandbox of this executor cannot be made" in error["message"]) == (
        "CONFIGURED_INCORRECTLY",
        True,
    )
    assert shim.wait() == 0


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_want_of_room_hands_the_run_back(server: WorkerServer, start: Start, tmp_path: Path, mode: str) -> None:
    """Every place for a sandbox is taken: another executor may have one, and nobody goes without for that."""
    places = tmp_path / "run" / "slots"
    places.mkdir(parents=True)
    held = os.open(places / "0", os.O_RDWR | os.O_CREAT, 0o600)  # its file alone: who has its name here is not known
    fcntl.flock(held, fcntl.LOCK_EX)
    shim = start((), mode=mode, slots=1, run_dir=str(tmp_path / "run"))
    outcome = server.result(server.give("hello"))["outcome"]
    assert (outcome["handBack"], outcome["error"]["code"]) == (True, "TASK_EXECUTION_ABORTED")
    assert "all 1 places for sandboxes are taken" in outcome["error"]["message"]
    assert shim.wait() == 0
    os.close(held)


def test_without_control_groups_other_limits_hold(server: WorkerServer, start: Start) -> None:
    shim = start(WITHOUT_GROUPS, mode="required", pids=64)
    counted = told(server, "fork-bomb")
    assert (counted["denied"], counted["count"] < 64) == ("EAGAIN", True)
    assert "no control group for memory" in shim.log.read_text()
    error = server.result(server.give("memory-hog", {"bytes": 3 << 30}, memoryBytes=128 << 20))["outcome"]["error"]
    assert (error["code"], "of 128 MB" in error["message"]) == ("TASK_PROCESS_OOM_KILLED", True)


def test_what_is_shown_inside_may_be_read_or_written(server: WorkerServer, start: Start, tmp_path: Path) -> None:
    shared, models = tmp_path / "shared", tmp_path / "models"
    for each in (shared, models):
        each.mkdir()
        each.chmod(0o777)
    start((), mode="required", writable=[str(shared)], readable=[str(models)])
    found = told(server, "write", [str(shared / "note"), str(models / "note"), str(tmp_path / "note")])
    assert found == [{"got": "4"}, {"denied": "EROFS"}, {"denied": "EACCES"}]
    assert (shared / "note").read_text() == "word" and not (models / "note").exists()


def test_a_path_that_leads_through_a_link_inside_is_made_inside(server: WorkerServer, start: Start) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as shared:
        os.chmod(shared, 0o777)
        start((), mode="required", writable=[shared])
        assert told(server, "write", [f"{shared}/note"]) == [{"got": "4"}]
        assert (Path(shared) / "note").read_text() == "word"
        assert not (Path("/tmp") / Path(shared).name).exists(), "it was made on the node"


def test_the_report_is_of_a_sandbox_that_was_made() -> None:
    needs_freezing()
    report = examined()
    assert all(each["holds"] for each in report["properties"]), report
    assert len(report["nodeType"]) == 16
    lacking = examined(*WITHOUT_GROUPS)
    assert [each["name"] for each in lacking["properties"] if not each["holds"]] == ["processes", "memory"]
    nothing = examined(*WITHOUT_PRIVILEGE)
    assert not any(each["holds"] for each in nothing["properties"])
    assert nothing["nodeType"] == ""
    waiting = examined("env", "SOJOURN_CRIU=/nowhere/criu")
    (freezable,) = [each for each in waiting["properties"] if not each["holds"]]
    assert freezable["name"] == "freezable" and "/nowhere/criu is no program" in freezable["why"] and freezable["change"]


def examined(*prefix: str) -> dict[str, Any]:
    command = [*prefix, sys.executable, "-m", "sojourn.executor_shim.sandbox", "--json"]
    done = subprocess.run([*command, "--options", '{"network": "none"}'], capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
