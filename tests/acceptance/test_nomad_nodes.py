"""A cluster of three nodes, each with an address and a disk of its own: one dies, one is cut off."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster import SERVER_ADDRESS, Cluster, cluster
from tests.support.nomad_stack import NomadStack
from tests.support.sandboxes import needs_sandboxes
from tests.support.schedulers import database_of
from tests.support.stack import until

from sojourn.sdk import archive

PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(3) as made:
        yield made


def start(nodes: Cluster, **settings: str) -> NomadStack:
    """A stack that the nodes reach at the server's address."""
    made = NomadStack(
        nodes,
        **{
            "SOJOURN_HOST": SERVER_ADDRESS,
            "SOJOURN_NOMAD_SITES": nodes.sites,
            "SOJOURN_NOMAD_PLACES": "6",
            "SOJOURN_IDLE_TIMEOUT_SECONDS": "0.5",
            **settings,
        },
    )
    made.up()
    made.deploy(PROJECT)
    return made


@pytest.fixture
def stack(nodes: Cluster) -> Iterator[NomadStack]:
    until(nodes.is_whole, 60, "every node is ready")
    made = start(nodes)
    yield made
    made.down()


class Gated:
    """A run that goes on until its gate is opened, and where it is."""

    def __init__(self, stack: NomadStack, gate: Path):
        self.stack, self.client, self._gate = stack, stack.client(), gate
        self.run = str(self.client.trigger("waits-for", {"file": str(gate)}, {"maxAttempts": 3})["id"])

    def found(self) -> dict[str, Any]:
        return dict(self.client.retrieve(self.run))

    def node(self) -> str:
        """The name of the node that it executes on."""

        def where() -> str:
            found = self.found()
            return str((found.get("executor") or {}).get("nodeName") or "") if found["status"] == "EXECUTING" else ""

        return str(until(where, 60, "it runs, and its node is known"))

    def events(self) -> list[str]:
        return [row["event"] for row in self.client.timeline(self.run)["snapshots"]]

    def moves_on_from(self, node: str) -> str:
        """Until it runs elsewhere; where."""
        return str(until(lambda: (now := self.node()) != node and now, 90, f"it has left {node}"))

    def ends_well(self, starts: int) -> None:
        self._gate.touch()
        result = until(lambda: self.client.result(self.run, wait=5), 90, "it ends")
        assert result["ok"], (result, self.client.timeline(self.run))
        assert self.events().count("START") == starts, self.client.timeline(self.run)
        assert self.events().count("SUCCEED") == 1
        until(lambda: not self.stack.violations(), 20, "every invariant holds")


def serve_on(stack: NomadStack, node: str) -> None:
    """Until a run is served on that node: of some that are there at the same time one is."""
    database, living = database_of(stack), "SELECT 1 FROM executors WHERE ended_at IS NULL"

    def served() -> bool:
        until(lambda: not database.rows(living), 60, "no executor is left to be used again")
        client = stack.client()
        runs = [client.trigger("sleeps", 1)["id"] for _ in range(4)]
        assert all((client.result(run, wait=30) or {}).get("ok") for run in runs)
        return node in {client.retrieve(run)["executor"].get("nodeName") for run in runs}

    until(served, 90, f"{node} serves")
    database.close()


def test_runs_spread_and_each_node_has_the_version_once(nodes: Cluster, stack: NomadStack, tmp_path: Path) -> None:
    """Two executors of a node that need it at once publish one tree, which is the deployed one."""
    _, content_hash = archive.pack(PROJECT)
    for node in nodes.nodes:
        shutil.rmtree(node.trees / content_hash, ignore_errors=True)
    runs = [Gated(stack, tmp_path / "gate") for _ in range(6)]
    used = Counter(run.node() for run in runs)  # two of Nomad's workers that decide at once may choose the same node
    assert set(used) == {node.name for node in nodes.nodes} and max(used.values()) > 1
    for node in nodes.nodes:
        trees = [path.name for path in node.trees.iterdir() if path.is_dir()]
        assert trees == [content_hash]
        assert archive.pack(node.trees / content_hash)[1] == content_hash
    for run in runs:
        run.ends_well(starts=1)


def test_a_node_that_dies_loses_its_runs_to_the_others(nodes: Cluster, stack: NomadStack, tmp_path: Path) -> None:
    run = Gated(stack, tmp_path / "gate")
    first = run.node()
    nodes.of(first).kill()
    try:
        assert run.moves_on_from(first) in {node.name for node in nodes.nodes}
        attempt = run.client.timeline(run.run)["attempts"][0]
        assert attempt["error"]["name"] == "TASK_RUN_STALLED_EXECUTING", attempt
        run.ends_well(starts=2)
    finally:
        nodes.of(first).start()
    until(nodes.is_whole, 60, f"{first} is back")
    serve_on(stack, first)


def test_a_node_that_is_cut_off_and_returns_ends_nothing_twice(nodes: Cluster, stack: NomadStack, tmp_path: Path) -> None:
    """From everybody: its run is another's after a lease, and what it had has ended by itself before that."""
    run = Gated(stack, tmp_path / "gate")
    first = run.node()
    with nodes.of(first).unplugged():
        second = run.moves_on_from(first)
        # The client alone is left there: the shim has ended the run and itself.
        until(lambda: len(nodes.of(first).processes()) <= 1, 30, "the node that is cut off has ended its run")
        assert second != first
    until(nodes.is_whole, 60, f"{first} is back")
    run.ends_well(starts=2)
    serve_on(stack, first)


def test_a_node_that_only_nomad_has_lost_goes_on(nodes: Cluster, stack: NomadStack, tmp_path: Path) -> None:
    """It beats: the run is nobody else's. When the node returns Nomad stops what it gave up, unless that is over."""
    run, over = Gated(stack, tmp_path / "gate"), Gated(stack, tmp_path / "other")
    first = run.node()
    while over.node() != first:  # of those that come one by one, every third is there
        over.ends_well(starts=1)
        over = Gated(stack, tmp_path / f"other-{over.run}")
    with nodes.of(first).cut_off_from_nomad():
        until(lambda: first not in nodes.ready(), 60, "Nomad has lost it")
        over.ends_well(starts=1)
        assert run.events()[-1] == "START"
    until(lambda: "HAND_BACK" in run.events(), 60, "it is handed back")
    run.node()
    until(nodes.is_whole, 60, f"{first} is back")
    run.ends_well(starts=2)


def test_nodes_have_sandboxes_of_their_own(nodes: Cluster) -> None:
    """The same numbers, names and addresses are in use on each at the same time."""
    needs_sandboxes()
    until(nodes.is_whole, 60, "every node is ready")
    stack = start(nodes, SOJOURN_SANDBOX="required", SOJOURN_IDLE_TIMEOUT_SECONDS="30")
    try:
        client = stack.client()
        runs = [client.trigger("sleeps", 3)["id"] for _ in range(6)]
        for run in runs:
            result = until(lambda run=run: client.result(run, wait=5), 60, "it ends")
            assert result["ok"], result
        used = Counter(client.retrieve(run)["executor"]["nodeName"] for run in runs)
        assert set(used) == {node.name for node in nodes.nodes}
        until(lambda: not stack.violations(), 20, "every invariant holds")
    finally:
        stack.down()
