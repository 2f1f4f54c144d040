"""Runs that are frozen on one node of a real cluster and thawed on another, of which the first may be gone by then."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.criu import needs_criu
from tests.support.nomad_nodes import HUB, Cluster, Node, needs_nodes
from tests.support.nomad_stack import NomadStack
from tests.support.schedulers import database_of
from tests.support.stack import until

PROJECT = Path(__file__).parent / "waiting"


class Ground:
    """Two nodes, and a stack on their hub."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.stack = NomadStack(
            cluster,
            SOJOURN_NOMAD_SITES=json.dumps({"*": {"python": sys.executable}}),
            SOJOURN_LEASE_SECONDS="6",
            SOJOURN_IDLE_TIMEOUT_SECONDS="1",
            SOJOURN_EXECUTORS_ON_STOP="keep",  # their nodes end with them
            SOJOURN_SANDBOX="required",
            SOJOURN_SHORT_WAIT="0",
            SOJOURN_FREEZE_AFTER="0.2",
            SOJOURN_FREEZE_THRESHOLD="0",
            SOJOURN_FREEZE_ENVIRONMENTS="prod=80000",  # there, waits are in memory
        )
        self.stack.environment["SOJOURN_HOST"] = HUB
        self.stack.environment["SOJOURN_API_URL"] = f"http://{HUB}:{self.stack.port}"

    def only(self, *nodes: Node) -> None:
        """Of the nodes, these alone take further jobs."""
        for each in self.stack.ask("nodes"):
            wanted = "eligible" if each["Name"] in {node.name for node in nodes} else "ineligible"
            self.stack.tell("put", f"node/{each['ID']}/eligibility", {"Eligibility": wanted})

    def trigger(self, task: str, payload: Any = None, environment: str = "dev") -> str:
        return str(self.stack.client(environment).trigger(task, payload)["id"])

    def events(self, run: str, environment: str = "dev") -> list[str]:
        return [row["event"] for row in self.stack.client(environment).timeline(run)["snapshots"]]

    def stands(self, run: str, status: str, environment: str = "dev") -> None:
        client = self.stack.client(environment)
        try:
            until(lambda: client.timeline(run)["snapshots"][-1]["status"] == status, 60, f"it stands at {status}")
        except AssertionError as error:
            raise AssertionError((client.timeline(run), self.stack.logs())) from error

    def node(self, run: str, environment: str = "dev") -> str:
        client = self.stack.client(environment)
        return str(until(lambda: (client.retrieve(run).get("executor") or {}).get("nodeName"), 20, "its node is known"))

    def complete(self, run: str, data: Any, environment: str = "dev") -> None:
        client = self.stack.client(environment)
        lines = client.logs(run)["lines"]
        token = next(line["properties"]["token"] for line in lines if "token" in (line.get("properties") or {}))
        client.request("POST", f"/api/v1/waitpoints/tokens/{token}/complete", {"data": data})

    def output(self, run: str, environment: str = "dev") -> Any:
        client = self.stack.client(environment)
        result = until(lambda: client.result(run, wait=10), 90, "it ends")
        assert result["ok"], (result, client.timeline(run))
        return json.loads(result["output"])

    def has_no_executor(self) -> bool:
        database = database_of(self.stack)
        try:
            return not database.rows("SELECT 1 FROM executors WHERE ended_at IS NULL")
        finally:
            database.close()

    @contextmanager
    def drained(self, node: Node) -> Iterator[None]:
        """That node is to be left by all that it runs."""
        (found,) = [each["ID"] for each in self.stack.ask("nodes") if each["Name"] == node.name]
        self.stack.tell("put", f"node/{found}/drain", {"DrainSpec": {"Deadline": 10**9}})
        try:
            yield
        finally:
            self.stack.tell("put", f"node/{found}/drain", {"DrainSpec": None, "MarkEligible": True})


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    needs_nodes()
    needs_criu()
    cluster = Cluster(2)
    try:
        cluster.up()
        made = Ground(cluster)
        try:
            made.stack.up()
            for environment in ("dev", "prod"):
                made.stack.deploy(PROJECT, environment)
            yield made
        finally:
            made.stack.down()
    finally:
        cluster.down()


@pytest.fixture(autouse=True)
def whole(ground: Ground) -> Iterator[None]:
    """Each test begins with every node and no executor, which would take a run where that is; it leaves all sound."""
    until(ground.has_no_executor, 60, "the executors of the test before have left")
    until(lambda: len(ground.cluster.ready()) == len(ground.cluster.nodes), 60, "every node takes jobs")
    ground.only(*ground.cluster.nodes)
    yield
    until(lambda: not ground.stack.violations(), 30, "every invariant holds")


def test_a_run_is_thawed_on_another_node_when_its_first_is_gone(ground: Ground) -> None:
    first, second = ground.cluster.nodes
    ground.only(first)
    run = ground.trigger("asks", {"seed": 7})
    ground.stands(run, "SUSPENDED")
    first.kill()
    ground.only(second)
    ground.complete(run, {"approved": True})
    told = ground.output(run)
    assert told["answer"] == {"approved": True} and told["written"] == "before after"
    assert told["secret"] == random.Random(7).random()
    assert ground.node(run) == second.name
    assert ground.stack.client().retrieve(run)["attemptCount"] == 1
    ground.cluster.switch_on(first)


def test_a_drained_node_s_runs_go_on_elsewhere_without_beginning_anew(ground: Ground) -> None:
    """F53: one that works; what waits is frozen already."""
    first, second = ground.cluster.nodes
    ground.only(first)
    works = ground.trigger("counts", 400)  # for long enough that a busy Nomad drains the node meanwhile
    until(lambda: ground.stack.client().logs(works)["lines"], 60, "it works")
    ground.only(second)
    with ground.drained(first):
        until(lambda: "SUSPEND" in ground.events(works), 60, "it is frozen")
        told = ground.output(works)
    assert told == {"counted": 400, "same": True}
    assert "HAND_BACK" not in ground.events(works)
    assert ground.stack.client().retrieve(works)["attemptCount"] == 1
    assert ground.node(works) == second.name


def test_what_waits_in_memory_leaves_a_drained_node_frozen(ground: Ground) -> None:
    """F53: one that would have waited there for long; its token is completed when the node is empty."""
    first, second = ground.cluster.nodes
    ground.only(first)
    run = ground.trigger("asks", {"seed": 3}, "prod")
    ground.stands(run, "EXECUTING_WITH_WAITPOINTS", "prod")
    ground.only(second)
    with ground.drained(first):
        ground.stands(run, "SUSPENDED", "prod")
        ground.complete(run, {"approved": True}, "prod")
        told = ground.output(run, "prod")
    assert told["answer"] == {"approved": True} and told["written"] == "before after"
    assert "HAND_BACK" not in ground.events(run, "prod")
    assert (ground.node(run, "prod"), ground.stack.client("prod").retrieve(run)["attemptCount"]) == (second.name, 1)


def test_what_may_not_be_frozen_is_handed_back_and_begins_anew(ground: Ground) -> None:
    """F53: its task says so; the attempt is not charged, as the task may have one alone."""
    first, second = ground.cluster.nodes
    ground.only(first)
    run = ground.trigger("stays", 15)
    ground.stands(run, "EXECUTING_WITH_WAITPOINTS")
    ground.only(second)
    with ground.drained(first):
        told = ground.output(run)
    assert told == {"same": True, "attempt": 2}
    assert "HAND_BACK" in ground.events(run) and "SUSPEND" not in ground.events(run)
    assert ground.node(run) == second.name
