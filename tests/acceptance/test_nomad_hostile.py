"""Hostile code in a run on Nomad, by raw_exec and by exec: it reaches nothing, its end is clear, its neighbour goes on."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.nomad_stack import NomadStack, executor, result
from tests.support.sandboxes import needs_sandboxes
from tests.support.stack import until

from sojourn.control_plane.cluster_facts import SANDBOX_CAPABILITIES
from sojourn.control_plane.embedded.nomad import NomadAgent

HOSTILE = Path(__file__).parents[1] / "integration" / "shim" / "hostile"
PROJECT = Path(__file__).parent / "project"
SITES: dict[str, dict[str, Any]] = {
    "raw_exec": {"driver": "raw_exec"},
    "exec": {"driver": "exec", "capabilities": list(SANDBOX_CAPABILITIES)},
}
NOTHING = {"denied": "EPERM"}
ONCE = {"maxAttempts": 1}
#: Where the allocation has no control group in sight the kernel's kill is a guess.
OUT_OF_MEMORY = ("TASK_PROCESS_OOM_KILLED", "TASK_PROCESS_MAYBE_OOM_KILLED")


@pytest.fixture(scope="module", params=SITES)
def stack(request: pytest.FixtureRequest, nomad_agent: NomadAgent) -> Iterator[NomadStack]:
    """Hostile code is `dev`'s, its neighbour `prod`'s."""
    needs_sandboxes()
    made = NomadStack(
        nomad_agent,
        SOJOURN_NOMAD_SITES=json.dumps({"*": SITES[request.param]}),
        SOJOURN_SANDBOX="required",
        SOJOURN_SANDBOX_TMP_MB="16",
        SOJOURN_SANDBOX_PROCESSES="64",
        SOJOURN_CANCEL_GRACE_SECONDS="2",
        # Two processors that 64 processes fight for: the tests' usual lease of 3 s is no measure here.
        SOJOURN_LEASE_SECONDS="20",
        SOJOURN_PLACEMENT_SECONDS="40",
        SOJOURN_IDLE_TIMEOUT_SECONDS="60",
    )
    made.up()
    made.deploy(HOSTILE)
    made.deploy(PROJECT, "prod")
    yield made
    made.down()


def ended(stack: NomadStack, task: str, payload: Any = None) -> dict[str, Any]:
    client = stack.client()
    return result(client, client.trigger(task, payload, ONCE)["id"], 90)


def told(stack: NomadStack, task: str, payload: Any = None) -> Any:
    found = ended(stack, task, payload)
    assert found["ok"], found
    return json.loads(found["output"])


def latency(stack: NomadStack) -> float:
    """Seconds from the trigger of a neighbour's run to its result, which is right."""
    client, since = stack.client("prod"), time.monotonic()
    run = client.trigger("echo", since)["id"]
    assert json.loads(result(client, run, 60)["output"]) == since
    return time.monotonic() - since


@contextmanager
def neighbour(stack: NomadStack, what: str) -> Iterator[None]:
    """One that works all the while; its latencies before and meanwhile are printed."""
    latency(stack)
    before = [latency(stack) for _ in range(20)]
    during: list[float] = []
    failures: list[BaseException] = []
    is_over = threading.Event()

    def work() -> None:
        try:
            while not is_over.is_set() or not during:
                during.append(latency(stack))
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        is_over.set()
        worker.join()
        for name, found in (("before", before), ("meanwhile", during)):
            if found:
                middle, worst = statistics.median(found) * 1000, max(found) * 1000
                print(f"{what}: neighbour {name}: median {middle:.0f} ms, worst {worst:.0f} ms of {len(found)}")
    assert not failures


def test_it_has_no_privilege_and_sees_no_other(stack: NomadStack) -> None:
    calls = ["mount", "ptrace", "process_vm", "setns", "kill_init", "user_namespace", "bpf", "keyctl", "perf"]
    found = told(stack, "try", ["status", "processes", "init", "hidden", "siblings", "links", "sysctl", "code", *calls])
    status = found["status"]
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert found["processes"] == []
    assert {each["denied"] for each in found["init"].values()} == {"ENOENT"}
    assert found["hidden"] == []
    assert len(found["siblings"]) == 1
    assert all("denied" in each for each in (*found["links"], *found["sysctl"], *found["code"]))
    assert [found[name] for name in calls] == [NOTHING] * len(calls)


def test_no_port_of_the_platform_or_the_node_is_reached(stack: NomadStack) -> None:
    agent = stack.agent
    assert isinstance(agent, NomadAgent) and agent._ports
    ports = [urlsplit(agent.access.address).port, agent._ports.rpc, agent._ports.serf, agent._ports.client_http]
    targets = [["127.0.0.1", port] for port in ports] + [["169.254.169.254", 80], ["10.0.0.1", 80], ["172.17.0.1", 2375]]
    found = told(stack, "reach", targets)
    assert "reached" not in found.values(), found
    assert told(stack, "reach", [["127.0.0.1", stack.port]]) == {f"127.0.0.1:{stack.port}": "reached"}


def test_forged_calls_and_frames_do_nothing_to_another_run(stack: NomadStack, tmp_path: Path) -> None:
    victims = stack.client("prod")
    victim = victims.trigger("sleeps", 600)["id"]
    until(lambda: victims.retrieve(victim)["status"] == "EXECUTING", 60, "the victim runs")
    about = {"run": victim, "snapshot": 3, "executor": executor(victims, victim)["id"]}
    answers = told(stack, "forge-calls", about)
    assert answers.pop("secrets") > 0, "its own token is no secret before it"
    assert {status for found in answers.values() for status in found} <= {401, 403, 404}, answers
    assert told(stack, "forge-frames", about) == "sent"
    spoiled = ended(stack, "spoil-frames")
    assert spoiled["error"]["code"] == "TASK_RUN_CRASHED"
    assert "where only Sojourn writes" in spoiled["error"]["message"]
    assert victims.retrieve(victim)["status"] == "EXECUTING"
    assert [row["event"] for row in victims.timeline(victim)["snapshots"]] == ["TRIGGER", "DEQUEUE", "START"]
    assert all("forged" not in line["message"] for line in victims.logs(victim)["lines"])
    victims.cancel(victim)
    until(lambda: victims.retrieve(victim)["status"] == "CANCELED", 30, "it is cancelled by its owner")


def test_bombs_are_bounded_and_the_neighbour_goes_on(stack: NomadStack) -> None:
    with neighbour(stack, "processes"):
        bomb = told(stack, "fork-bomb")
        assert (bomb["denied"], bomb["count"] < 64) == ("EAGAIN", True)
        client = stack.client()
        wild = client.trigger("wild-fork-bomb", None, ONCE)["id"]
        until(lambda: client.logs(wild)["lines"], 60, "it bombs")
        client.cancel(wild)
        until(lambda: client.timeline(wild)["snapshots"][-1]["event"] == "CANCEL_ACKNOWLEDGED", 60, "it is stopped")
    assert told(stack, "hello") == "hello"


def test_memory_and_disk_are_bounded_and_the_neighbour_goes_on(stack: NomadStack) -> None:
    with neighbour(stack, "memory and disk"):
        assert ended(stack, "memory-hog", {"bytes": 3 << 30})["error"]["code"] in OUT_OF_MEMORY
        found = told(stack, "try", ["fill", "inodes"])
        assert (found["fill"][0], found["inodes"]) == ({"denied": "ENOSPC"}, {"denied": "ENOSPC"})
    assert told(stack, "hello") == "hello"


def test_output_is_bounded_and_the_neighbour_goes_on(stack: NomadStack) -> None:
    with neighbour(stack, "output"):
        large = ended(stack, "large-result", {"bytes": 40_000_000})
        assert large["error"]["code"] == "TASK_OUTPUT_ERROR"
        assert told(stack, "log-flood", {"mb": 100}) == "flooded"
    assert told(stack, "hello") == "hello"
