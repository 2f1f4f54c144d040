"""Runs by region, on two real Nomad agents at once: placed, warm, killed, silent.

One of them has a second node pool, and a second region in a federation.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.nomad_agent import agent, federated, node_in_pool
from tests.support.nomad_stack import NAMESPACE, NomadStack, quoted
from tests.support.schedulers import Paused
from tests.support.stack import until

from sojourn.control_plane.embedded.nomad import CLIENT, SERVER, NomadAgent
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import nomad_client
from sojourn.sdk.client import Client

PROJECT = Path(__file__).parent / "project"
REGIONS = json.dumps({"eu": {"cluster": "eu-1"}, "gpu": {"node_pool": "gpu"}, "ap": {"cluster": "home-ap"}})


@dataclass
class Clusters:
    """`home` is NOMAD_ADDR's, with the node `gpu` in a pool of that name; `ap` is reached through it; `eu` is the other."""

    home: NomadAgent
    eu: NomadAgent
    ap: NomadAccess
    gpu: str

    def management(self, cluster: str) -> NomadAccess:
        """All rights on a cluster, by its name."""
        home = self.home.management
        return {"home": home, "eu-1": self.eu.management, "home-ap": replace(home, region=self.ap.region)}[cluster]


@pytest.fixture(scope="module")
def clusters() -> Iterator[Clusters]:
    with agent(of_a_federation=True) as home, agent() as eu, federated(home, "ap") as ap, node_in_pool(home, "gpu") as gpu:
        yield Clusters(home, eu, ap, gpu)


@contextmanager
def started(clusters: Clusters, secrets: Path, idle: str = "10", **of_eu: Any) -> Iterator[NomadStack]:
    """A stack on all of them, with the project in both environments. `of_eu`: options of the other cluster besides."""
    eu, ap = clusters.eu.access, clusters.ap
    (secrets / "ap").write_text(ap.token + "\n")
    entries = {
        "eu-1": {"address": eu.address, "token_variable": "NOMAD_TOKEN_EU", **of_eu},
        "home-ap": {"address": ap.address, "token_file": str(secrets / "ap"), "region": ap.region},
    }
    made = NomadStack(
        clusters.home,
        SOJOURN_NOMAD_CLUSTERS=json.dumps(entries),
        NOMAD_TOKEN_EU=eu.token,
        SOJOURN_REGIONS=REGIONS,
        SOJOURN_NOMAD_SITES=json.dumps({"prod": {"region": "eu"}}),
        SOJOURN_NOMAD_CLUSTER="home",
        SOJOURN_IDLE_TIMEOUT_SECONDS=idle,
    )
    try:
        made.up()
        made.deploy(PROJECT)
        made.deploy(PROJECT, "prod")
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def stack(clusters: Clusters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NomadStack]:
    with started(clusters, tmp_path_factory.mktemp("secrets")) as made:
        yield made


def ended(client: Client, run: str, seconds: float = 40) -> dict[str, Any]:
    found: dict[str, Any] = until(lambda: client.result(run, wait=5), seconds, f"{run} ends")
    return found


def ends_well(client: Client, run: str, seconds: float = 60) -> dict[str, Any]:
    result = ended(client, run, seconds)
    assert result["ok"], (result, client.timeline(run))
    return dict(client.retrieve(run))


def executor(client: Client, run: str) -> dict[str, Any]:
    found: dict[str, Any] = until(
        lambda: (told := client.retrieve(run).get("executor") or {}).get("nodeId") and told, 20, "its node is known"
    )
    return found


def executes(client: Client, run: str) -> None:
    until(lambda: client.retrieve(run)["status"] == "EXECUTING", 60, f"{run} runs")


def asked(of: NomadAccess, path: str) -> Any:
    """Something that a cluster tells of itself."""
    jobs = nomad_client(of).jobs
    return jobs._request(method="get", endpoint=f"v1/{path}", params={"namespace": NAMESPACE}).json()


def jobs(of: NomadAccess) -> set[str]:
    """Every job that a cluster has."""
    return {job["ID"] for job in asked(of, "jobs")}


def starts(client: Client, run: str) -> list[bool]:
    return [attempt["warmStart"] for attempt in client.timeline(run)["attempts"]]


@pytest.mark.parametrize(
    ("region", "cluster"), [("default", "home"), ("eu", "eu-1"), ("gpu", "home"), ("ap", "home-ap")], ids=str
)
def test_a_run_goes_where_its_region_is(stack: NomadStack, clusters: Clusters, region: str, cluster: str) -> None:
    """Job, allocation and node are that cluster's own; no other has anything of it. A second run is warm there."""
    client, at = stack.client(), clusters.management(cluster)
    others = [clusters.management(each) for each in ("home", "eu-1", "home-ap") if each != cluster]
    run = client.trigger("echo", region, {"region": region})["id"]
    assert ends_well(client, run)["region"] == region
    told = executor(client, run)
    (allocation,) = asked(at, f"job/{quoted(told['jobId'])}/allocations")
    assert told == {
        "id": asked(at, f"job/{quoted(told['jobId'])}")["Meta"]["executor"],
        "cluster": cluster,
        "namespace": NAMESPACE,
        "jobId": allocation["JobID"],
        "allocationId": allocation["ID"],
        "nodeId": allocation["NodeID"],
        "nodeName": allocation["NodeName"],
        "isolation": "none",
    }
    node = asked(at, f"node/{told['nodeId']}")
    assert node["NodePool"] == ("gpu" if region == "gpu" else "default")
    assert (node["ID"] == clusters.gpu) is (region == "gpu")
    assert not any(told["jobId"] in jobs(other) for other in others)
    again = client.trigger("echo", 2, {"region": region})["id"]
    ends_well(client, again)
    assert (starts(client, run), starts(client, again)) == ([False], [True])
    assert executor(client, again) == told
    page = _page(stack, f"/runs/{run}")
    assert f"<dt>Region</dt><dd>{region}</dd>" in page and f"<dt>Cluster</dt><dd>{cluster}</dd>" in page


def test_an_environment_has_a_region_of_its_own(stack: NomadStack) -> None:
    client = stack.client("prod")
    run = client.trigger("echo", 1)["id"]
    assert ends_well(client, run)["region"] == "eu"
    assert executor(client, run)["cluster"] == "eu-1"
    home = client.trigger("echo", 1, {"region": "default"})["id"]
    ends_well(client, home)
    assert executor(client, home)["cluster"] == "home"


def test_by_the_command_line(stack: NomadStack) -> None:
    done = stack.cli("trigger", "echo", "--payload", "1", "--region", "eu", "--wait", "--json")
    run = json.loads(done.stdout)
    assert (run["region"], run["executor"]["cluster"]) == ("eu", "eu-1")
    listed = json.loads(stack.cli("runs", "list", "--region", "eu", "--json").stdout)["data"]
    assert run["id"] in [each["id"] for each in listed] and {each["region"] for each in listed} == {"eu"}
    again = stack.cli("runs", "replay", run["id"], "--region", "gpu").stdout.strip()
    assert ends_well(stack.client(), again)["region"] == "gpu"
    refused = stack.cli("trigger", "echo", "--region", "us", check=False)
    assert refused.returncode == 3
    assert "there is no region 'us': there are default, eu, gpu, ap" in refused.stderr


def test_the_doctor_looks_at_every_cluster(stack: NomadStack, clusters: Clusters) -> None:
    done = stack.cli("doctor", "--json", check=False)
    found = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    names = (
        "Nomad",
        "right dispatch-job",
        "eu-1: Nomad",
        "eu-1: right dispatch-job",
        "home-ap: Nomad",
        "region eu",
        "region gpu",
    )
    assert {name: found[name]["state"] for name in names} == dict.fromkeys(names, "ok")
    assert clusters.eu.access.address in found["eu-1: Nomad"]["text"]
    assert found["region gpu"]["text"] == "cluster home, node pool gpu: 1 nodes take jobs"


def test_the_second_token_is_the_scheduler_s_alone(stack: NomadStack, clusters: Clusters) -> None:
    secret = clusters.eu.access.token
    environments = {name: Path(f"/proc/{pid}/environ").read_bytes() for name, pid in stack.services().items()}
    for word in (secret, clusters.eu.access.address, "SOJOURN_NOMAD_CLUSTERS"):
        assert {name for name, told in environments.items() if word.encode() in told} == {"scheduler"}, word
    told = stack.logs() + stack.cli("status", "--json").stdout + stack.cli("doctor", "--json", check=False).stdout
    assert secret not in told + stack.documents()


def test_a_full_cluster_fills_no_other_and_makes_room_of_its_own(clusters: Clusters, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with started(clusters, tmp_path, idle="300", places=1) as stack:
        client, prod = stack.client(), stack.client("prod")
        ends_well(client, client.trigger("echo", "warm")["id"])
        has_it = client.trigger("waits-for", {"file": str(gate)}, {"region": "eu"})["id"]
        executes(client, has_it)
        waits = prod.trigger("echo", "eu")["id"]
        other = prod.trigger("echo", "home", {"region": "default"})["id"]
        assert ends_well(prod, other)["status"] == "COMPLETED"
        assert prod.retrieve(waits)["status"] == "QUEUED"
        gate.touch()
        ends_well(client, has_it)
        ends_well(prod, waits)
        assert executor(prod, waits)["cluster"] == "eu-1"
        again = client.trigger("echo", "still warm")["id"]
        ends_well(client, again)
        assert starts(client, again) == [True], "the executor that left was one of the cluster that was full"
        until(lambda: not stack.violations(), 20, "every invariant holds")


def test_a_cluster_that_was_killed_stops_no_other_and_goes_on_when_it_returns(
    stack: NomadStack, clusters: Clusters, tmp_path: Path
) -> None:
    client, eu = stack.client(), clusters.eu
    gates = {region: tmp_path / region for region in ("default", "eu")}
    gated = {
        region: client.trigger("waits-for", {"file": str(gate)}, {"region": region})["id"] for region, gate in gates.items()
    }
    for run in gated.values():
        executes(client, run)
    for name in (CLIENT, SERVER):
        os.kill(eu.children[name].pid, signal.SIGKILL)
        eu.children[name].wait()
    waiting = [client.trigger("echo", n, {"region": "eu", "machine": "small-2x"})["id"] for n in range(3)]
    others = [client.trigger("echo", n, {"machine": "small-2x"})["id"] for n in range(3)]
    for run in others:
        assert executor(client, run)["cluster"] == "home"
        ends_well(client, run)
    gates["default"].touch()
    assert ends_well(client, gated["default"])["attemptCount"] == 1
    assert {client.retrieve(run)["status"] for run in waiting} <= {"QUEUED", "DEQUEUED"}
    doctor = json.loads(stack.cli("doctor", "--json", check=False).stdout)["findings"]
    (bad,) = [finding for finding in doctor if finding["what"] == "eu-1: Nomad"]
    assert bad["state"] == "bad" and "correct eu-1 in SOJOURN_NOMAD_CLUSTERS" in bad["text"]
    _come_back(eu)
    for run in waiting:
        assert ends_well(client, run, 90)["attemptCount"] == 1
        assert executor(client, run)["cluster"] == "eu-1"
    gates["eu"].touch()
    assert ends_well(client, gated["eu"])["attemptCount"] == 1, "Nomad took its task over"
    until(lambda: not stack.violations(), 20, "every invariant holds")


def test_a_cluster_that_is_silent_stops_no_other(stack: NomadStack, clusters: Clusters) -> None:
    """It takes connections and answers nothing: whoever places waits for it a moment, and then no more."""
    client, before = stack.client(), _silences(stack)
    with Paused(clusters.eu.children[SERVER].pid):
        waiting = client.trigger("echo", "eu", {"region": "eu", "machine": "medium-1x"})["id"]
        until(lambda: _silences(stack) > before, 60, "it is known to be silent")
        for n in range(3):
            ends_well(client, client.trigger("echo", n, {"machine": "medium-1x"})["id"])
        assert client.result(waiting) is None
    assert ends_well(client, waiting, 90)["attemptCount"] == 1
    assert executor(client, waiting)["cluster"] == "eu-1"
    until(lambda: not stack.violations(), 20, "every invariant holds")


def _come_back(killed: NomadAgent) -> None:
    """As whoever supervises it would: both processes, on the same ports and data."""
    killed.launch_server()
    until(lambda: _answers(killed), 60, "its server leads")
    killed.launch_client()


def _answers(of: NomadAgent) -> bool:
    try:
        return bool(asked(of.management, "status/leader"))
    except Exception:
        return False


def _silences(stack: NomadStack) -> int:
    """How often the scheduler said that the other cluster does not answer."""
    return (stack.data_dir / "logs" / "scheduler.log").read_text().count("nothing is placed on the cluster eu-1")


def _page(stack: NomadStack, path: str) -> str:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.open(stack.status()["dashboard_url"], timeout=60).close()
    with opener.open(stack.found["api_url"] + path, timeout=60) as answer:
        return str(answer.read().decode())
