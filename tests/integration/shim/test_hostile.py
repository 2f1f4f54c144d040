"""Hostile code in a sandbox: what it tries is denied, its end is clear, its neighbours live on."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.shim.conftest import ShimProcess, told, wait_gone
from tests.integration.shim.worker_server import WorkerServer
from tests.support.nodes import METADATA, NODE, PERMITTED, PRIVATE, WORLD, Node
from tests.support.sandboxes import needs_sandboxes

from sojourn.executor_shim.process_tree import descendants
from sojourn.executor_shim.sandbox.network import rules
from sojourn.executor_shim.sandbox.options import Options
from sojourn.sdk import archive

PROJECT = Path(__file__).parent / "hostile"
OPTIONS = {"mode": "required", "tmp_bytes": 16 << 20, "pids": 64, "allow": [f"{PERMITTED}/32"]}
MB = 1 << 20
NO_ROOT = {"denied": "EPERM"}
Start = Callable[..., ShimProcess]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    needs_sandboxes()
    made = Node()
    yield made
    made.close()


@pytest.fixture
def server(node: Node) -> Iterator[WorkerServer]:
    """The API listens on the node's loopback."""
    with node.inside.entered():
        made = WorkerServer()
    yield made
    made.close()


@pytest.fixture
def start(node: Node, server: WorkerServer, tmp_path: Path) -> Iterator[Start]:
    """Starts an executor on the node; options of its sandbox as keywords."""
    packed, content_hash = archive.pack(PROJECT)
    server.archives[content_hash] = packed
    started: list[ShimProcess] = []

    def start_one(**options: Any) -> ShimProcess:
        sandbox = {**OPTIONS, **options}
        shim = ShimProcess(server, tmp_path, content_hash, prefix=node.inside.prefix, sandbox=sandbox)
        started.append(shim)
        return shim

    yield start_one
    for shim in started:
        shim.end()


def error_of(server: WorkerServer, task: str, payload: Any = None, **more: Any) -> dict[str, Any]:
    outcome = server.result(server.give(task, payload, **more))["outcome"]
    assert not outcome["ok"]
    error: dict[str, Any] = outcome["error"]
    return error


def test_it_has_no_privilege_and_cannot_get_one(server: WorkerServer, start: Start) -> None:
    start()
    found = told(server, "try", ["status", "root", "real_mount"])
    status = found["status"]
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"]) == ("1", "2", "")
    assert len({*status["uid"], *status["gid"]}) == 1 and status["uid"][0] >= Options().uid
    assert found["root"] == [NO_ROOT] * 4 and found["real_mount"] != 0


def test_the_shim_and_other_processes_are_out_of_reach(server: WorkerServer, start: Start) -> None:
    shim = start()
    found = told(server, "try", ["processes", "init", "kill_init", "ptrace", "process_vm", "setns"])
    assert found["processes"] == []
    assert {each["denied"] for each in found["init"].values()} == {"ENOENT"}
    assert [found[name] for name in ("kill_init", "ptrace", "process_vm", "setns")] == [NO_ROOT] * 4
    assert told(server, "hello") == "hello" and shim.process.poll() is None


def test_the_kernels_large_doors_are_closed(server: WorkerServer, start: Start) -> None:
    start()
    calls = ["mount", "chroot", "mknod", "user_namespace", "clone_namespace", "io_uring", "bpf", "keyctl", "perf"]
    calls += ["userfaultfd", "kexec", "module", "personality"]
    found = told(server, "try", [*calls, "clone3", "unknown_call", "dev_mem", "dev", "sysctl"])
    assert {name: found[name] for name in calls} == dict.fromkeys(calls, NO_ROOT)
    assert found["clone3"] == found["unknown_call"] == {"denied": "ENOSYS"}
    assert found["dev_mem"] == {"denied": "ENOENT"}
    assert not {"mem", "kmem", "kmsg", "vda", "sda", "loop0", "kvm", "fuse"} & set(found["dev"])
    assert all(each["denied"] in ("EROFS", "EACCES", "EPERM", "ENOENT") for each in found["sysctl"]), found["sysctl"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="32-bit calls of x86")
def test_a_call_by_other_numbers_is_the_end(server: WorkerServer, start: Start) -> None:
    start()
    error = error_of(server, "other-numbers")
    assert (error["code"], "SIGSYS" in error["message"]) == ("TASK_RUN_CRASHED", True)
    assert told(server, "hello") == "hello"


def test_it_can_be_frozen_later(server: WorkerServer, start: Start) -> None:
    """Session leader, a number of its own, pipes only."""
    start()
    session = told(server, "try", ["session"])["session"]
    assert session["pid"] == session["sid"] == 20_001
    assert set(session["fds"].values()) == {"/dev/null", "pipe"} and set(session["fds"]) == set("012345")


def test_files_beside_its_own_are_not_there_or_not_to_be_changed(
    server: WorkerServer, start: Start, tmp_path: Path
) -> None:
    other = tmp_path / "versions" / ("f" * 64)
    other.mkdir(parents=True)
    shim = start()
    found = told(server, "try", ["code", "system", "hidden", "siblings", "links", "notes"])
    assert all(each["denied"] in ("EROFS", "EACCES", "EBUSY") for each in found["code"]), found["code"]
    assert found["system"] == [{"denied": "EROFS"}] * 5
    assert found["hidden"] == []
    assert found["notes"] == [{"denied": "EACCES"}, {"denied": "EACCES"}, {"denied": "EXDEV"}]
    assert len(found["siblings"]) == 1 and other.name not in found["siblings"]
    assert found["links"] == [{"denied": "ENOENT"}] * 3
    assert shim.log.exists() and list(other.iterdir()) == []


def test_its_own_space_is_bounded(server: WorkerServer, start: Start) -> None:
    start()
    found = told(server, "try", ["fill", "inodes"])
    assert found["fill"] == [{"denied": "ENOSPC"}, 16 * MB]
    assert found["inodes"] == {"denied": "ENOSPC"}


def test_the_internet_is_reached_and_nothing_near(server: WorkerServer, start: Start, node: Node) -> None:
    start()
    services = [("127.0.0.1", 5432), ("127.0.0.1", 6379), ("127.0.0.1", 4646), (NODE, 6379)]
    near = [*services, (PRIVATE, 80), (METADATA, 80), ("198.18.0.1", 6379), ("0.0.0.0", 6379)]
    for address, port in [*services, (PRIVATE, 80), (METADATA, 80), (WORLD, 80), (PERMITTED, 80)]:
        assert node.inside.can_connect(address, port), address
    found = told(server, "reach", [*near, (WORLD, 80), (PERMITTED, 80)])
    assert (found.pop(f"{WORLD}:80"), found.pop(f"{PERMITTED}:80")) == ("reached", "reached")
    assert set(found.values()) <= {"EHOSTUNREACH", "ECONNREFUSED", "ENETUNREACH"}, found


def test_the_api_is_reached_at_its_own_address(server: WorkerServer, start: Start) -> None:
    start()
    found = told(server, "try", ["api", "names"])
    assert found == {"api": 404, "names": ["127.0.0.1", "sojourn"]}


@pytest.mark.parametrize("network", ["filtered", "none"])
def test_a_forwarded_service_is_reached(server: WorkerServer, start: Start, network: str) -> None:
    start(network=network, forward=["127.0.0.1:5432"])
    found = told(server, "reach", [("127.0.0.1", 5432), ("127.0.0.1", 6379)])
    assert found == {"127.0.0.1:5432": "reached", "127.0.0.1:6379": "ECONNREFUSED"}


def test_without_a_network_there_is_the_api_alone(server: WorkerServer, start: Start) -> None:
    start(network="none")
    assert told(server, "reach", [(WORLD, 80), (PRIVATE, 80)]) == dict.fromkeys(
        (f"{WORLD}:80", f"{PRIVATE}:80"), "ENETUNREACH"
    )
    assert told(server, "try", ["api"]) == {"api": 404}


def test_sockets_are_of_unix_and_ip(server: WorkerServer, start: Start) -> None:
    start()
    found = told(server, "try", ["sockets", "change_network"])
    sockets = found["sockets"]
    assert sockets.pop("raw") == NO_ROOT and found["change_network"] == NO_ROOT
    assert [sockets.pop(name) for name in ("route", "unix")] == [{"got": "None"}] * 2
    assert {sockets.pop(name)["denied"] for name in ("netfilter", "sctp", "dccp")} == {"EPROTONOSUPPORT"}
    assert {each["denied"] for each in sockets.values()} == {"EAFNOSUPPORT"}


def test_another_run_is_not_reached(server: WorkerServer, start: Start) -> None:
    start()
    listening = server.give("listen", {"seconds": 60})
    server.wait_for(lambda: server.log(listening))
    address = server.log(listening)[0]["properties"]["address"]
    start()
    found = told(server, "reach", [(address, 9000)])
    assert found == {f"{address}:9000": "EHOSTUNREACH"}


def test_a_flushed_firewall_opens_nothing(server: WorkerServer, start: Start, node: Node) -> None:
    """The routes inside are a wall of their own, and the next sandbox brings the table back."""
    start()
    told(server, "hello")
    subprocess.run([*node.inside.prefix, "nft", "flush", "ruleset"], check=True)
    found = told(server, "reach", [(NODE, 6379), (PRIVATE, 80), (METADATA, 80), ("198.18.0.1", 6379)])
    assert set(found.values()) == {"EHOSTUNREACH"}
    before = len(server.nexts)
    start()
    server.wait_for(lambda: any(each["served"] == 0 for each in server.nexts[before:]))
    table = rules(Options.read(OPTIONS)).table
    listed = subprocess.run([*node.inside.prefix, "nft", "list", "tables"], capture_output=True, text=True, check=True)
    assert table in listed.stdout


def test_a_fork_bomb_is_bounded_and_its_neighbour_lives(server: WorkerServer, start: Start) -> None:
    start()
    told(server, "hello")
    bomb = server.give("wild-fork-bomb", maxDuration=6)
    server.wait_for(lambda: server.log(bomb))
    start()
    assert told(server, "hello") == "hello"
    assert server.result(bomb)["outcome"]["error"]["code"] == "MAX_DURATION_EXCEEDED"
    counted = told(server, "fork-bomb")
    assert (counted["denied"], counted["count"] < OPTIONS["pids"]) == ("EAGAIN", True)
    assert "can't start new thread" in error_of(server, "thread-bomb")["message"]


@pytest.mark.parametrize("task", ["memory-hog", "hog-below"])
def test_memory_has_its_limit_at_once(server: WorkerServer, start: Start, task: str) -> None:
    start()
    error = error_of(server, task, {"bytes": 3 << 30}, memoryBytes=128 * MB)
    assert (error["code"], "of 128 MB" in error["message"]) == ("TASK_PROCESS_OOM_KILLED", True)
    assert told(server, "hello") == "hello"


def test_who_kills_everybody_kills_himself(server: WorkerServer, start: Start) -> None:
    shim = start()
    error = error_of(server, "kill-all")
    assert (error["code"], "SIGKILL" in error["message"]) == ("TASK_PROCESS_MAYBE_OOM_KILLED", True)
    assert told(server, "hello") == "hello" and shim.process.poll() is None


def test_nothing_is_left_of_a_killed_shim(server: WorkerServer, start: Start, node: Node, tmp_path: Path) -> None:
    """Its place, address and interface are the next one's: of places that nobody else on this machine takes."""
    places = str(tmp_path / "run")
    shim = start(run_dir=places)
    assert told(server, "try", ["api"]) == {"api": 404}  # the relay is at work, too
    run = server.give("listen", {"seconds": 60})
    server.wait_for(lambda: server.log(run))
    address = server.log(run)[0]["properties"]["address"]
    below = descendants(shim.pid)
    assert len(below) >= 4
    os.kill(shim.pid, signal.SIGKILL)
    for pid in below:
        wait_gone(pid)
    del server.given[run]
    start(run_dir=places)
    again = server.give("listen", {"seconds": 0})
    assert server.result(again)["outcome"]["ok"]
    assert server.log(again)[0]["properties"]["address"] == address
    assert len([name for name in node.inside.interfaces() if name.startswith("sj")]) == 1


def test_a_sandbox_that_cannot_be_made_is_told_by_its_run(server: WorkerServer, start: Start) -> None:
    shim = start(readable=["/etc/../etc"])
    error = error_of(server, "hello")
    assert (error["code"], "cannot be shown inside" in error["message"]) == ("CONFIGURED_INCORRECTLY", True)
    assert shim.wait() == 0
