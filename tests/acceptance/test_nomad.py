"""Runs as Nomad batch jobs, on a real agent with ACLs on: cold, warm, cancelled, stopped, killed in between, not placed."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.nomad_stack import NomadStack, Starts, executor, quoted, result, shim_of
from tests.support.sandboxes import needs_sandboxes
from tests.support.schedulers import Paused, Scheduler, database_of
from tests.support.stack import until

from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.sdk.client import Client

PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="module")
def nomad_stack(nomad_agent: NomadAgent) -> Iterator[NomadStack]:
    made = NomadStack(nomad_agent)
    made.up()
    made.deploy(PROJECT)
    yield made
    made.down()


def is_executing(client: Client, run: str) -> bool:
    return bool(client.retrieve(run)["status"] == "EXECUTING")


def events(client: Client, run: str) -> list[str]:
    return [row["event"] for row in client.timeline(run)["snapshots"]]


def test_a_cold_run_is_a_batch_job_and_a_warm_one_needs_none(nomad_stack: NomadStack) -> None:
    client, before = nomad_stack.client(), len(nomad_stack.children())
    cold = client.trigger("echo", {"n": 1})["id"]
    assert result(client, cold)["output"] == '{"n":1}'
    warm = client.trigger("echo", {"n": 2})["id"]
    assert result(client, warm)["ok"]
    starts = [client.timeline(run)["attempts"][0]["warmStart"] for run in (cold, warm)]
    assert starts == [False, True]
    children = nomad_stack.children()
    assert len(children) == before + 1
    (allocation,) = nomad_stack.allocations(children[-1]["ID"])
    told = executor(client, cold)
    assert told == {
        "id": children[-1]["Meta"]["executor"],
        "cluster": "default",
        "namespace": "sojourn",
        "jobId": children[-1]["ID"],
        "allocationId": allocation["ID"],
        "nodeId": allocation["NodeID"],
        "nodeName": allocation["NodeName"],
        "isolation": "none",
    }
    assert executor(client, warm) == told
    page = _page(nomad_stack, f"/runs/{cold}")
    assert told["jobId"] in page and told["allocationId"] in page and told["nodeName"] in page
    meta = {name: children[-1]["Meta"][name] for name in ("executor", "run", "snapshot")}
    assert meta == {"executor": told["id"], "run": cold, "snapshot": "2"}
    assert children[-1]["Type"] == "batch"


def test_a_task_in_a_batch_job_lives_in_a_sandbox(own_nomad_stack: Starts, nomad_agent: NomadAgent) -> None:
    needs_sandboxes()
    stack = own_nomad_stack(SOJOURN_SANDBOX="required")
    client, nomad = stack.client(), urlsplit(stack.agent.access.address)
    first = client.trigger("echo", {})["id"]
    assert result(client, first)["ok"]
    node = nomad_agent._allocations
    secrets = [str(path) for path in node.glob("**/secrets")]
    kept = [str(stack.data_dir / name) for name in ("master.key", "credentials.json", "run")]
    paths = [str(node), *secrets, *kept]
    assert secrets and all(os.path.exists(path) for path in paths)
    addresses = [[nomad.hostname, nomad.port], ["127.0.0.1", stack.port]]
    run = client.trigger("looks-around", {"paths": paths, "addresses": addresses})["id"]
    ended = result(client, run)
    assert ended["ok"], ended
    seen = json.loads(ended["output"])
    assert seen.pop("uid") > 1_000
    assert seen.pop("processes") < 10
    assert executor(client, run)["isolation"] == "sandbox"
    assert seen == {
        "capabilities": 0,
        "noNewPrivileges": "1",
        "seen": [],
        "reached": [["127.0.0.1", stack.port]],
        "variables": [],
    }


def test_nomad_holds_no_payload_and_no_secret(nomad_stack: NomadStack) -> None:
    client = nomad_stack.client()
    run = client.trigger("echo", {"word": "abracadabra-payload"})["id"]
    assert result(client, run)["ok"]
    documents = nomad_stack.documents()
    assert executor(client, run)["jobId"] in documents
    secrets = ["abracadabra", nomad_stack.agent.access.token, nomad_stack.agent.management.token]
    for environment in nomad_stack.found["environments"].values():
        secrets.append(environment["secret_key"])
    secrets.append((nomad_stack.data_dir / "master.key").read_text().strip())
    assert [word for word in secrets if word in documents] == []
    assert "postgres" not in documents and "redis.sock" not in documents


def test_a_cancelled_run_ends_and_leaves_its_executor_warm(nomad_stack: NomadStack) -> None:
    client = nomad_stack.client()
    run = client.trigger("sleeps", 60)["id"]
    until(lambda: is_executing(client, run), 20, "it runs")
    client.cancel(run)
    until(lambda: events(client, run)[-1] == "CANCEL_ACKNOWLEDGED", 20, "it was stopped")
    assert client.retrieve(run)["status"] == "CANCELED"


@pytest.mark.parametrize("how", ["job stop", "allocation stop"])
def test_a_stopped_job_hands_its_run_back_uncharged(nomad_stack: NomadStack, how: str, tmp_path: Path) -> None:
    """The gate is closed until the run was handed back: only its second executor gets through."""
    client, gate = nomad_stack.client(), tmp_path / "gate"
    run = client.trigger("waits-for", {"file": str(gate)})["id"]
    until(lambda: is_executing(client, run), 20, "it runs")
    first = executor(client, run)
    if how == "job stop":
        nomad_stack.tell("delete", f"job/{quoted(first['jobId'])}")
    else:
        nomad_stack.tell("put", f"allocation/{first['allocationId']}/stop", {})
    until(lambda: "HAND_BACK" in events(client, run), 20, "it is handed back")
    gate.touch()
    assert result(client, run)["output"] == '"through"'
    second = executor(client, run)
    assert second["jobId"] != first["jobId"]
    found = client.retrieve(run)
    assert (found["attemptCount"], found["status"]) == (2, "COMPLETED")  # a task of one attempt: none was charged
    until(lambda: _status(nomad_stack, first["jobId"]) == "dead", 20, "nothing of the first is left")


def until_killed(client: Client, gates: Path) -> str:
    """A run whose first attempt goes on until it is killed; the next one ends at once."""
    (gates / "2").touch()
    return str(client.trigger("waits-in-turn", {"gates": str(gates), "filling": 0})["id"])


def test_a_killed_allocation_costs_an_attempt_and_the_run_goes_on(nomad_stack: NomadStack, tmp_path: Path) -> None:
    client = nomad_stack.client()
    run = until_killed(client, tmp_path)
    until(lambda: is_executing(client, run), 20, "it runs")
    os.kill(shim_of(executor(client, run)["id"]), signal.SIGKILL)
    assert result(client, run)["ok"]
    assert client.retrieve(run)["attemptCount"] == 2
    first = client.timeline(run)["attempts"][0]
    assert "SIGKILL" in first["error"]["message"]


def test_an_executor_that_fell_silent_is_stopped_and_its_run_goes_on_elsewhere(
    nomad_stack: NomadStack, tmp_path: Path
) -> None:
    """F10: frozen beyond its lease. Its job is deregistered, so that Nomad ends it, whether it thaws or not."""
    client = nomad_stack.client()
    run = until_killed(client, tmp_path)
    until(lambda: is_executing(client, run), 20, "it runs")
    first = executor(client, run)
    os.kill(shim_of(first["id"]), signal.SIGSTOP)
    assert result(client, run)["ok"]
    assert executor(client, run)["jobId"] != first["jobId"]
    assert client.retrieve(run)["attemptCount"] == 2
    until(lambda: _status(nomad_stack, first["jobId"]) == "dead", 20, "its job is stopped")
    until(lambda: nomad_stack.allocations(first["jobId"])[0]["ClientStatus"] in ("complete", "failed"), 30, "it is gone")


def test_cancelling_what_does_not_react_stops_its_job(own_nomad_stack: Starts) -> None:
    stack = own_nomad_stack(SOJOURN_CANCEL_GRACE_SECONDS="1")
    client = stack.client()
    run = client.trigger("sleeps", 60)["id"]
    until(lambda: is_executing(client, run), 20, "it runs")
    first = executor(client, run)
    os.kill(shim_of(first["id"]), signal.SIGSTOP)
    client.cancel(run)
    until(lambda: events(client, run)[-1] == "CANCEL_ACKNOWLEDGED", 30, "it is given up")
    assert client.retrieve(run)["status"] == "CANCELED"
    until(lambda: _status(stack, first["jobId"]) == "dead", 20, "its job is stopped")


@pytest.mark.parametrize("point", ["scheduler.after_claim", "nomad.before_dispatch", "nomad.after_dispatch"])
def test_a_scheduler_that_dies_while_it_places_loses_nothing(own_nomad_stack: Starts, point: str, tmp_path: Path) -> None:
    """F05 with Nomad: killed before and after the dispatch; the run is placed once, or again, and ends once."""
    stack = own_nomad_stack(SOJOURN_FAULTS=f"{point}=kill:1:once={tmp_path / 'struck'}")
    client = stack.client()
    run = client.trigger("echo", "x")["id"]
    until((tmp_path / "struck").exists, 20, "the scheduler died")
    assert result(client, run)["output"] == '"x"'
    assert client.retrieve(run)["attemptCount"] == 1
    if point == "nomad.after_dispatch":
        assert len(stack.children()) == 1
    until(lambda: not stack.violations(), 20, "every invariant holds")


def test_a_scheduler_that_is_killed_takes_its_executors_over(own_nomad_stack: Starts, tmp_path: Path) -> None:
    stack, gate = own_nomad_stack(), tmp_path / "gate"
    client = stack.client()
    run = client.trigger("waits-for", {"file": str(gate)})["id"]
    until(lambda: is_executing(client, run), 20, "it runs")
    stack.kill("scheduler")
    gate.touch()
    assert result(client, run)["ok"]
    assert client.retrieve(run)["attemptCount"] == 1
    assert result(client, client.trigger("echo", 1)["id"])["ok"]
    assert len(stack.children()) == 1


def test_a_scheduler_that_does_not_lead_ends_nothing(own_nomad_stack: Starts, tmp_path: Path) -> None:
    stack, gate = own_nomad_stack(), tmp_path / "gate"
    client, database = stack.client(), database_of(stack)
    run = client.trigger("waits-for", {"file": str(gate)})["id"]
    until(lambda: is_executing(client, run), 20, "it runs")
    other = Scheduler(stack, tmp_path / "other")
    asking = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'sojourn-leader'"
    until(lambda: database.rows(asking)[0]["n"] == 2, 20, "it stands by")
    other.stop()
    database.close()
    gate.touch()
    assert result(client, run)["ok"]
    assert events(client, run) == ["TRIGGER", "DEQUEUE", "START", "SUCCEED"]


def test_a_standby_takes_over_what_a_paused_scheduler_placed(own_nomad_stack: Starts, tmp_path: Path) -> None:
    """F06 with Nomad: the living executors are the next leader's; the one that slept does no harm when it goes on."""
    stack, gate = own_nomad_stack(), tmp_path / "gate"
    client = stack.client()
    run = client.trigger("waits-for", {"file": str(gate)})["id"]
    until(lambda: is_executing(client, run), 20, "it runs")
    other = Scheduler(stack, tmp_path / "other")
    try:
        with Paused(stack.services()["scheduler"]):
            until(other.leads, 20, "the other one leads")
            meanwhile = client.trigger("echo", 1)["id"]
            assert result(client, meanwhile)["ok"]
            gate.touch()
            assert result(client, run)["ok"]
            assert client.retrieve(run)["attemptCount"] == 1
        assert result(client, client.trigger("echo", 2)["id"])["ok"]
        assert len(stack.children()) == 2
        until(lambda: not stack.violations(), 20, "every invariant holds")
    finally:
        other.stop()


@pytest.mark.parametrize(
    ("sites", "why"),
    [
        ({"constraints": [{"attribute": "${attr.kernel.name}", "value": "plan9"}]}, "could not place it"),
        ({"datacenters": ["nowhere"]}, "no nodes were eligible"),
        ({"mhz_per_cpu": 10_000_000}, "waiting for capacity"),
    ],
)
def test_nomads_reason_is_on_a_run_that_cannot_be_placed(own_nomad_stack: Starts, sites: dict[str, Any], why: str) -> None:
    """It waits in Sojourn's queue, nothing of it stays in Nomad's; a run of another environment is not kept by it."""
    stack = own_nomad_stack(SOJOURN_NOMAD_SITES=json.dumps({"dev": sites}))
    client = stack.client()
    run = client.trigger("echo", "x")["id"]

    def reasons() -> list[str]:
        return [row.get("description") or "" for row in client.timeline(run)["snapshots"] if row["event"] == "REQUEUE"]

    assert why in until(reasons, 20, "it is queued again")[0]
    stack.deploy(PROJECT, "prod")
    other = stack.client("prod")
    assert result(other, other.trigger("echo", "y")["id"])["ok"]
    until(lambda: len(reasons()) >= 2, 20, "it is tried again")
    assert client.retrieve(run)["status"] in ("QUEUED", "EXECUTING")
    client.cancel(run)
    until(lambda: client.retrieve(run)["status"] == "CANCELED", 20, "it is cancelled")
    until(lambda: all(job["Status"] != "pending" for job in stack.children()), 20, "nothing waits in Nomad")


def test_what_the_driver_cannot_start_costs_no_attempt_and_ends(own_nomad_stack: Starts) -> None:
    """F54: tried again with growing pauses, and not for ever."""
    stack = own_nomad_stack(SOJOURN_NOMAD_SITES=json.dumps({"*": {"python": "/nowhere/python3"}}))
    client = stack.client()
    run = client.trigger("echo", "x")["id"]
    row = until(
        lambda: [row for row in client.timeline(run)["snapshots"] if row["event"] == "REQUEUE"], 20, "it is queued again"
    )[0]
    assert "could not start it" in row["description"] and "/nowhere/python3" in row["description"]
    assert client.retrieve(run)["attemptCount"] == 0
    client.cancel(run)


def test_dead_children_are_removed(own_nomad_stack: Starts) -> None:
    stack = own_nomad_stack(SOJOURN_NOMAD_KEEP_SECONDS="1", SOJOURN_IDLE_TIMEOUT_SECONDS="0.1")
    client = stack.client()
    assert result(client, client.trigger("echo", 1)["id"])["ok"]
    until(lambda: not stack.children(), 30, "its job is gone")
    assert result(client, client.trigger("echo", 2)["id"])["ok"]


def _status(stack: NomadStack, child: str) -> str:
    return str(stack.ask(f"job/{quoted(child)}")["Status"])


def _page(stack: NomadStack, path: str) -> str:
    """A page of the dashboard, as somebody sees it who came by the link that `status` prints."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.open(stack.status()["dashboard_url"], timeout=60).close()
    with opener.open(stack.found["api_url"] + path, timeout=60) as answer:
        return str(answer.read().decode())
