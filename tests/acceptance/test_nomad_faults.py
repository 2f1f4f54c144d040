"""What breaks in a cluster, on an agent of these tests' own: servers, clients, nodes, removed jobs, waves of runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.nomad_agent import agent
from tests.support.nomad_stack import NomadStack, quoted
from tests.support.schedulers import Paused
from tests.support.stack import until

from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.sdk.client import Client

PROJECT = Path(__file__).parent / "project"
SERVER, CLIENT = "nomad", "nomad-client"
PLACES = 6


@pytest.fixture(scope="module")
def own_agent() -> Iterator[NomadAgent]:
    with agent() as made:
        yield made


@pytest.fixture
def stack(own_agent: NomadAgent) -> Iterator[NomadStack]:
    made = NomadStack(own_agent, SOJOURN_NOMAD_PLACES=str(PLACES), SOJOURN_NOMAD_SUBMISSIONS="3")
    made.up()
    made.deploy(PROJECT)
    yield made
    made.down()


class Gated:
    """A run that goes on until its gate is opened, and runs now."""

    def __init__(self, stack: NomadStack, gate: Path):
        self.stack, self.client, self._gate = stack, stack.client(), gate
        self.run = str(self.client.trigger("waits-for", {"file": str(gate)})["id"])
        self.executes()
        self.child: str = until(lambda: (self.found().get("executor") or {}).get("jobId"), 20, "its job is known")

    def found(self) -> dict[str, Any]:
        return dict(self.client.retrieve(self.run))

    def executes(self) -> None:
        until(lambda: self.found()["status"] == "EXECUTING", 60, "it runs")

    def events(self) -> list[str]:
        return [row["event"] for row in self.client.timeline(self.run)["snapshots"]]

    def status(self) -> str:
        """Its first allocation, as Nomad has it."""
        return str(self.stack.allocations(self.child)[0]["ClientStatus"])

    def ends_well(self, starts: int) -> None:
        self._gate.touch()
        result = until(lambda: self.client.result(self.run, wait=5), 90, "it ends")
        assert result["ok"], (result, self.client.timeline(self.run))
        assert self.found()["attemptCount"] == starts, self.client.timeline(self.run)
        until(lambda: not self.stack.violations(), 20, "every invariant holds")


def echoes(client: Client, n: int) -> None:
    run = client.trigger("echo", n)["id"]
    result = until(lambda: client.result(run, wait=5), 90, "another run ends")
    assert result["output"] == str(n)


def _start_again(own_agent: NomadAgent, name: str) -> None:
    own_agent.children[name].kill()
    own_agent.children[name].wait()
    own_agent.starters[name]()


def test_a_client_that_is_killed_and_comes_back_keeps_its_executors(
    own_agent: NomadAgent, stack: NomadStack, tmp_path: Path
) -> None:
    """F51: the executor went on meanwhile; no new attempt."""
    gated = Gated(stack, tmp_path / "gate")
    until(lambda: gated.status() == "running", 20, "Nomad knows that it runs")
    _start_again(own_agent, CLIENT)
    echoes(stack.client("dev"), 1)
    gated.ends_well(starts=1)


def test_a_server_that_is_killed_and_comes_back_places_nothing_twice(
    own_agent: NomadAgent, stack: NomadStack, tmp_path: Path
) -> None:
    """F50: what runs goes on; what is triggered meanwhile waits in Sojourn's queue."""
    gated = Gated(stack, tmp_path / "gate")
    own_agent.children[SERVER].kill()
    own_agent.children[SERVER].wait()
    meanwhile = [gated.client.trigger("echo", n)["id"] for n in range(3)]
    until(lambda: gated.client.retrieve(meanwhile[0])["status"] in ("QUEUED", "DEQUEUED"), 20, "it waits")
    own_agent.starters[SERVER]()
    for run in meanwhile:
        assert until(lambda run=run: gated.client.result(run, wait=5), 90, "it ends")["ok"]
        assert gated.client.retrieve(run)["attemptCount"] == 1
    gated.ends_well(starts=1)


def test_a_node_that_nomad_loses_goes_on_and_is_stopped_when_it_returns(
    own_agent: NomadAgent, stack: NomadStack, tmp_path: Path
) -> None:
    """F52: its executor beats all the same, so that its run is nobody else's; what Nomad stops then is handed back."""
    gated = Gated(stack, tmp_path / "gate")
    with Paused(own_agent.children[CLIENT].pid):
        until(lambda: gated.status() == "lost", 90, "Nomad gave the node up")
        assert gated.found()["status"] == "EXECUTING"
        assert gated.events()[-1] == "START"
    until(lambda: "HAND_BACK" in gated.events(), 60, "it is handed back")
    until(lambda: gated.found()["status"] == "EXECUTING", 120, "it runs again")
    gated.ends_well(starts=2)


def test_a_drained_node_hands_its_runs_back_uncharged(stack: NomadStack, tmp_path: Path) -> None:
    """F53: there is no other node, so that it waits until this one takes jobs again."""
    gated = Gated(stack, tmp_path / "gate")
    (node,) = [each["ID"] for each in stack.ask("nodes")]
    stack.tell("put", f"node/{node}/drain", {"DrainSpec": {"Deadline": 20 * 10**9}})
    try:
        until(lambda: "HAND_BACK" in gated.events(), 30, "it is handed back")
        until(lambda: gated.found()["status"] == "QUEUED", 20, "it waits")
    finally:
        stack.tell("put", f"node/{node}/drain", {"DrainSpec": None, "MarkEligible": True})
    gated.ends_well(starts=2)


def test_a_job_that_somebody_purges_hands_its_run_back(stack: NomadStack, tmp_path: Path) -> None:
    """F55: everything of it is gone from Nomad at once; its process is stopped with it."""
    gated = Gated(stack, tmp_path / "gate")
    stack.tell("delete", f"job/{quoted(gated.child)}", purge="true")
    until(lambda: "HAND_BACK" in gated.events(), 30, "it is handed back")
    gated.executes()
    gated.ends_well(starts=2)


def test_garbage_collection_takes_nothing_that_is_needed(stack: NomadStack, tmp_path: Path) -> None:
    gated = Gated(stack, tmp_path / "gate")
    stack.tell_nothing("put", "system/gc")
    echoes(stack.client(), 7)
    gated.ends_well(starts=1)


def test_a_wave_of_runs_topples_nobody(stack: NomadStack) -> None:
    """F56: 500 runs at once; never more executors than there are places, nor more submissions than there may be."""
    client, seen = stack.client(), []
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda n: stack.client().trigger("echo", n)["id"], range(500)))
    while left := [run for run in runs if not client.retrieve(run)["isCompleted"]]:
        children = stack.children()
        seen.append(sum(child["Status"] == "pending" for child in children))
        assert sum(child["Status"] != "dead" for child in children) <= PLACES
        until(lambda run=left[0]: client.result(run, wait=20), 60, "the first of those that are left ends")
    assert max(seen, default=0) <= 3
    assert all(client.retrieve(run)["status"] == "COMPLETED" for run in runs)
    until(lambda: not stack.violations(), 20, "every invariant holds")
