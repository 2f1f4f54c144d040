"""Several nodes in namespaces of their own: how versions get there, where runs go, what becomes of a node that fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.nomad_nodes import HUB, Cluster, Node, needs_nodes
from tests.support.nomad_stack import NomadStack, shim_of
from tests.support.proxy import Proxy, Seen
from tests.support.schedulers import Paused
from tests.support.stack import until

PROJECT = Path(__file__).parent / "project"
NODES, LEASE = 3, 6
#: More than any other request of an executor has.
RESULT = 20_000
#: The first of the user ids of sandboxes.
FIRST_USER = 0x78000000


class Ground:
    """The cluster, the stack on its hub, and the way between them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.stack = NomadStack(
            cluster,
            SOJOURN_NOMAD_SITES=json.dumps({"*": {"python": sys.executable}}),
            SOJOURN_NOMAD_PLACES="12",
            SOJOURN_NOMAD_SUBMISSIONS="12",
            SOJOURN_LEASE_SECONDS=str(LEASE),
            SOJOURN_IDLE_TIMEOUT_SECONDS="5",
            SOJOURN_EXECUTORS_ON_STOP="keep",  # their nodes end with them
            SOJOURN_SANDBOX="required",
            SOJOURN_SANDBOX_READABLE=str(cluster.shared),
            # What becomes of runs and trees where nothing is frozen; see test_nomad_freezing for where it is.
            SOJOURN_FREEZE="off",
            SOJOURN_RESTORED_STARTS="off",
        )
        self.proxy = Proxy(("127.0.0.1", self.stack.port), HUB)
        self.stack.environment["SOJOURN_API_URL"] = f"http://{HUB}:{self.proxy.port}"
        self._number = 0

    def up(self) -> None:
        self.stack.up()
        self.stack.deploy(PROJECT)
        self.client = self.stack.client()

    def down(self) -> None:
        self.stack.down()
        self.proxy.close()

    def deploy_another(self, directory: Path) -> str:
        """A version that no node has, as the current one; its hash."""
        self._number += 1
        directory.mkdir()
        text = (PROJECT / "zoo.py").read_text()
        (directory / "zoo.py").write_text(f"{text}\nNUMBER = {self._number}\n")
        return str(self.stack.deploy(directory)["contentHash"])

    def gated(self, filling: int = 0) -> Gated:
        self._number += 1
        return Gated(self, self.cluster.shared / str(self._number), filling)

    def fetches(self, content_hash: str) -> dict[str, int]:
        """How often each node asked for a version."""
        asked = [each.peer for each in self.proxy.requests(f"GET /worker/v1/versions/{content_hash}".encode())]
        return {node.name: asked.count(node.address) for node in self.cluster.nodes if node.address in asked}

    def only(self, *nodes: Node) -> None:
        """Of the nodes, these alone take further jobs."""
        names = {node.name for node in nodes}
        for each in self.stack.ask("nodes"):
            wanted = "eligible" if each["Name"] in names else "ineligible"
            self.stack.tell("put", f"node/{each['ID']}/eligibility", {"Eligibility": wanted})

    def sound(self) -> None:
        until(lambda: not self.stack.violations(), 30, "every invariant holds")


class Gated:
    """A run each attempt of which goes on until its own gate is opened."""

    def __init__(self, ground: Ground, gates: Path, filling: int):
        gates.mkdir()
        self._gates, self._ground = gates, ground
        self.run = str(ground.client.trigger("waits-in-turn", {"gates": str(gates), "filling": filling})["id"])

    def open(self, *attempts: int) -> None:
        for each in attempts:
            (self._gates / str(each)).touch()

    def found(self) -> dict[str, Any]:
        return dict(self._ground.client.retrieve(self.run))

    def executes(self, attempt: int = 1) -> Gated:
        def holds() -> bool:
            found = self.found()
            return bool(found["status"] == "EXECUTING" and found["attemptCount"] == attempt)

        try:
            until(holds, 60, f"attempt {attempt} runs")
        except AssertionError as error:
            raise AssertionError(self._ground.client.timeline(self.run)) from error
        return self

    def executor(self) -> str:
        return str(self.found()["executor"]["id"])

    def node(self) -> Node:
        """Where it is, once that is known."""
        name = until(lambda: (self.found().get("executor") or {}).get("nodeName"), 20, "its node is known")
        return self._ground.cluster.node(name)

    def events(self) -> list[str]:
        return [row["event"] for row in self._ground.client.timeline(self.run)["snapshots"]]

    def attempts(self) -> list[dict[str, Any]]:
        return list(self._ground.client.timeline(self.run)["attempts"])

    def ends(self, attempt: int) -> None:
        """It ends well and once, by that attempt."""
        self.open(attempt)
        result = until(lambda: self._ground.client.result(self.run, wait=5), 60, "it ends")
        assert result["ok"], (result, self.attempts())
        assert json.loads(result["output"])["attempt"] == attempt
        assert self.found()["attemptCount"] == attempt, self.attempts()
        assert [event for event in self.events() if event == "SUCCEED"] == ["SUCCEED"]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    needs_nodes()
    cluster = Cluster(NODES)
    try:
        cluster.up()
        made = Ground(cluster)
        try:
            made.up()
            yield made
        finally:
            made.down()
    finally:
        cluster.down()


@pytest.fixture(autouse=True)
def whole(ground: Ground, tmp_path: Path) -> Iterator[None]:
    """Each test begins with every node there, and with a version for which no executor is warm."""
    ground.deploy_another(tmp_path / "at-first")
    yield
    ground.proxy.heal()
    ground.only(*ground.cluster.nodes)
    until(lambda: len(ground.cluster.ready()) == NODES, 60, "every node is there again")


def one_on_each(ground: Ground) -> dict[str, Gated]:
    """Runs until every node has one: the first of each node.

    Nomad takes the emptier of two nodes that it draws, so that it may come to the third late.
    """
    found: dict[str, Gated] = {}
    more: list[Gated] = []  # these go on meanwhile: an executor without a run would be given the next one
    while len(found) < NODES and len(more) < 3 * NODES:
        gated = ground.gated().executes()
        if found.setdefault(gated.node().name, gated) is not gated:
            more.append(gated)
    for each in more:
        each.ends(1)
    assert len(found) == NODES, f"they do not spread: {found.keys()}"
    return found


def test_runs_spread_and_each_node_fetches_the_version_once(ground: Ground, tmp_path: Path) -> None:
    content_hash = ground.deploy_another(tmp_path / "project")
    runs = one_on_each(ground)
    assert ground.fetches(content_hash) == dict.fromkeys(runs, 1)
    trees = [node.versions / content_hash for node in ground.cluster.nodes]
    assert len({(tree / "zoo.py").stat().st_ino for tree in trees}) == NODES
    assert {tree.is_dir() for tree in trees} == {True}
    for gated in runs.values():
        gated.ends(1)
    ground.sound()


def test_nodes_of_one_kernel_share_no_limits(ground: Ground) -> None:
    """Each has a sandbox of number 0; the groups that limit them are not the same."""
    runs = one_on_each(ground)
    groups = {name: _groups(ground.cluster.node(name)) for name in runs}
    assert all(groups.values())
    assert len(set.union(*groups.values())) == sum(map(len, groups.values())), groups
    for gated in runs.values():
        gated.ends(1)


def _groups(node: Node) -> set[str]:
    """The groups that limit how many processes sandboxes of a node have."""
    found = set()
    for pid in node.processes():
        try:
            user = int(Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0])
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except FileNotFoundError:
            continue
        if user >= FIRST_USER:
            found |= {line for line in lines if "pids" in line.split(":")[1].split(",") or line.startswith("0::/")}
    return {line for line in found if "sojourn" in line}


def test_two_executors_that_fetch_at_once_leave_one_tree(ground: Ground, tmp_path: Path) -> None:
    node = ground.cluster.nodes[0]
    ground.only(node)
    content_hash = ground.deploy_another(tmp_path / "project")
    ground.proxy.hold(f"GET /worker/v1/versions/{content_hash}".encode())
    runs = [ground.gated() for _ in range(2)]
    until(lambda: ground.fetches(content_hash) == {node.name: 2}, 30, "both ask for it")
    assert _kept(node, content_hash) == set()
    ground.proxy.heal()
    for gated in runs:
        gated.executes()
    assert _kept(node, content_hash) == {content_hash}
    third = ground.gated().executes()
    for gated in (*runs, third):
        assert gated.node() is node
        gated.ends(1)
    assert ground.fetches(content_hash) == {node.name: 2}
    ground.sound()


def test_a_download_that_is_damaged_is_refused_and_fetched_again(ground: Ground, tmp_path: Path) -> None:
    node = ground.cluster.nodes[1]
    ground.only(node)
    content_hash = ground.deploy_another(tmp_path / "project")
    asked = f"GET /worker/v1/versions/{content_hash}".encode()
    ground.proxy.change_answer(asked, _damaged)
    ground.proxy.change_answer(asked, lambda data: data[: len(data) - 100])
    gated = ground.gated()
    gated.ends(1)
    assert ground.fetches(content_hash) == {node.name: 3}
    assert _kept(node, content_hash) == {content_hash}
    ground.sound()


def test_a_download_that_is_always_damaged_is_never_published(ground: Ground, tmp_path: Path) -> None:
    node = ground.cluster.nodes[1]
    ground.only(node)
    content_hash = ground.deploy_another(tmp_path / "project")
    asked = f"GET /worker/v1/versions/{content_hash}".encode()
    ground.proxy.change_answer(asked, _damaged, times=3)
    failing = ground.gated()
    result = until(lambda: ground.client.result(failing.run, wait=5), 60, "it ends")
    assert (result["ok"], result["error"]["code"]) == (False, "CONFIGURED_INCORRECTLY"), result
    assert "the code of this version cannot be had" in result["error"]["message"]
    assert _kept(node, content_hash) == set()
    ground.gated().ends(1)
    assert _kept(node, content_hash) == {content_hash}
    ground.sound()


def _damaged(data: bytes) -> bytes:
    """A byte of the files in an archive is another one; its directory, at its end, is as it was."""
    return data[:-300] + bytes([data[-300] ^ 1]) + data[-299:]


def _kept(node: Node, content_hash: str) -> set[str]:
    """Of a node's version trees, that one; and whatever was not published and is there."""
    names = {path.name for path in node.versions.iterdir() if path.suffix != ".lock"} if node.versions.exists() else set()
    return {name for name in names if name == content_hash or not name.isalnum()}


def test_runs_of_a_node_that_dies_are_retried_on_another(ground: Ground, tmp_path: Path) -> None:
    """F51: the machine is gone with all that ran there. Our lease decides, and only its own runs are concerned."""
    runs = one_on_each(ground)
    name, lost = runs.popitem()
    dead = ground.cluster.node(name)
    dead.kill()
    lost.executes(attempt=2)
    assert lost.node() is not dead
    error = lost.attempts()[0]["error"]
    assert error["name"] == "TASK_RUN_STALLED_EXECUTING"
    assert f"on {name} has not been heard of" in error["message"]
    lost.ends(2)
    for gated in runs.values():
        gated.ends(1)
    ground.sound()
    ground.cluster.switch_on(dead)
    until(lambda: dead.name in ground.cluster.ready(), 60, "it is there again")
    _takes_runs(ground, dead, tmp_path / "project")


def test_a_node_that_was_cut_off_returns_and_its_late_result_is_refused(ground: Ground, tmp_path: Path) -> None:
    """F10, F11: its shim stands still with a result on its way, which arrives when the run is another's."""
    gated = ground.gated(filling=RESULT).executes()
    cut, executor = gated.node(), gated.executor()
    (who,) = {each.who for each in ground.proxy.answers(gated.run.encode()) if each.peer == cut.address}
    cut.cut()
    gated.open(1)
    until(lambda: cut.unsent(ground.proxy.port) > RESULT, 20, "its result is on its way")
    shim = shim_of(executor)
    with Paused(shim):
        gated.executes(attempt=2)
        assert gated.node() is not cut
        before = len(ground.proxy.answered)
        cut.heal()
        until(lambda: _is_refused(ground.proxy.answered[before:], who), 60, "the late result arrives, and is refused")
        assert gated.found()["status"] == "EXECUTING"
    until(lambda: not Path(f"/proc/{shim}").exists(), 60, "the old executor leaves")
    gated.ends(2)
    ground.sound()
    until(lambda: cut.name in ground.cluster.ready(), 60, "it is there again")
    _takes_runs(ground, cut, tmp_path / "project")


def _is_refused(answers: list[Seen], who: bytes) -> bool:
    """Whether that executor was told that its result counts no more, or that it is none any more."""
    mine = [each.data for each in answers if each.who == who]
    return any(b'"STALE"' in data or data.startswith((b"HTTP/1.1 401", b"HTTP/1.1 409", b"HTTP/1.1 410")) for data in mine)


def test_what_a_node_runs_that_is_cut_off_from_everything_is_ended_there_in_time(ground: Ground) -> None:
    """F11: nobody tells it; the run is another's by then, and on the node nothing of it runs."""
    gated = ground.gated().executes()
    cut, shim = gated.node(), shim_of(gated.executor())
    cut.cut()
    gated.executes(attempt=2)
    until(lambda: not Path(f"/proc/{shim}").exists(), 30, "the shim ends by itself")
    gated.open(1)
    cut.heal()
    gated.ends(2)
    ground.sound()


def test_a_node_that_only_nomad_loses_goes_on_and_is_handed_back_when_it_returns(ground: Ground, tmp_path: Path) -> None:
    """F52: the API is within reach, so that what runs there is nobody else's; one ends meanwhile, the other is moved."""
    ends, stays = _two_on_one(ground)
    node = stays.node()
    with node.cut_off_from(ground.cluster.ports.rpc):
        until(lambda: node.name not in ground.cluster.ready(), 60, "Nomad gave the node up")
        ends.ends(1)
        assert (stays.found()["status"], stays.found()["attemptCount"]) == ("EXECUTING", 1)
        elsewhere = ground.gated().executes()
        elsewhere.ends(1)
    until(lambda: "HAND_BACK" in stays.events(), 60, "it is handed back")
    stays.executes(attempt=2)
    stays.ends(2)
    ground.sound()
    until(lambda: node.name in ground.cluster.ready(), 60, "it is there again")
    _takes_runs(ground, node, tmp_path / "project")


def test_a_drained_node_hands_its_runs_to_others(ground: Ground) -> None:
    """F53: uncharged. Nomad leaves batch jobs alone until the drain's deadline."""
    gated = ground.gated().executes()
    drained = gated.node()
    (node,) = [each["ID"] for each in ground.stack.ask("nodes") if each["Name"] == drained.name]
    ground.stack.tell("put", f"node/{node}/drain", {"DrainSpec": {"Deadline": 2 * 10**9}})
    try:
        gated.executes(attempt=2)
        assert gated.node() is not drained
        assert "HAND_BACK" in gated.events()
    finally:
        ground.stack.tell("put", f"node/{node}/drain", {"DrainSpec": None, "MarkEligible": True})
    gated.ends(2)
    ground.sound()


def _two_on_one(ground: Ground) -> tuple[Gated, Gated]:
    node = ground.cluster.nodes[2]
    ground.only(node)
    first, second = ground.gated().executes(), ground.gated().executes()
    assert {first.node(), second.node()} == {node}
    ground.only(*ground.cluster.nodes)
    return first, second


def _takes_runs(ground: Ground, node: Node, directory: Path) -> None:
    """It runs what is placed from now on: of a version for which no executor is warm."""
    ground.deploy_another(directory)
    ground.only(node)
    gated = ground.gated().executes()
    assert gated.node() is node
    gated.ends(1)
