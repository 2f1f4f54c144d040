"""The driver docker on an engine of these tests' own, without a registry: an image of this interpreter and this package."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import images
from tests.support.nomad_agent import agent
from tests.support.nomad_stack import NomadStack, executor, result
from tests.support.stack import until

from sojourn.control_plane.cluster_facts import SANDBOX_CAPABILITIES
from sojourn.control_plane.embedded.nomad import NomadAgent

PROJECT = Path(__file__).parent / "project"
SITE = {"driver": "docker", "image": images.NAME, "python": "/opt/sojourn/bin/python", "network_mode": "host"}


@pytest.fixture(scope="module")
def docker_agent() -> Iterator[NomadAgent]:
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("an engine needs root and dockerd (apt-get install docker.io)")
    with tempfile.TemporaryDirectory(prefix="sojourn-docker-") as directory, images.engine(Path(directory)) as host:
        images.build(host, Path(directory))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", host)
            with agent("raw_exec", "docker") as made:
                yield made


def started(docker_agent: NomadAgent, sandbox: str, **site: Any) -> NomadStack:
    sites = json.dumps({"*": {**SITE, **site}})
    stack = NomadStack(docker_agent, SOJOURN_NOMAD_SITES=sites, SOJOURN_SANDBOX=sandbox, SOJOURN_PLACEMENT_SECONDS="40")
    stack.up()
    stack.deploy(PROJECT)
    return stack


def looks_around(stack: NomadStack) -> tuple[dict[str, Any], str]:
    client = stack.client()
    addresses = [["127.0.0.1", stack.port]]
    run = client.trigger("looks-around", {"paths": [str(stack.data_dir)], "addresses": addresses})["id"]
    ended = result(client, run, 90)
    assert isinstance(stack.agent, NomadAgent)
    logs = [path.read_text()[-400:] for path in stack.agent._allocations.glob("*/alloc/logs/*.stderr.0")][:2]
    assert ended["ok"], (ended["error"]["message"][:600], logs)
    return json.loads(ended["output"]), executor(client, run)["isolation"]


def test_a_container_is_its_own_isolation_and_the_run_says_so(docker_agent: NomadAgent) -> None:
    stack = started(docker_agent, "auto")
    try:
        seen, isolation = looks_around(stack)
        assert isolation == "docker"
        assert (seen["capabilities"], seen["noNewPrivileges"], seen["seen"], seen["variables"]) == (0, "1", [], [])
    finally:
        stack.down()


def test_a_missing_image_costs_no_attempt_and_a_versions_own_wins(docker_agent: NomadAgent) -> None:
    """F54: Nomad's own words; the next version names one that is there."""
    stack = started(docker_agent, "auto", image="localhost:1/nothing:1")
    client = stack.client()
    try:
        run = client.trigger("echo", 1)["id"]
        history = lambda: client.timeline(run)["snapshots"]  # noqa: E731
        rows = until(lambda: [row for row in history() if row["event"] == "REQUEUE"], 60, "it is queued again")
        assert "could not start it" in rows[0]["description"] and "nothing" in rows[0]["description"]
        assert client.retrieve(run)["attemptCount"] == 0
        client.cancel(run)
        stack.deploy_with(_Pictured(client), PROJECT)
        assert result(client, client.trigger("echo", 2)["id"], 90)["ok"]
    finally:
        stack.down()


def test_capabilities_that_are_of_no_use_do_not_reach_user_code(docker_agent: NomadAgent) -> None:
    """Docker's own filter refuses pivot_root, whatever a container may do: `auto` keeps to its isolation, and says so."""
    stack = started(docker_agent, "auto", capabilities=list(SANDBOX_CAPABILITIES))
    try:
        seen, isolation = looks_around(stack)
        assert isolation == "docker"
        assert (seen["capabilities"], seen["noNewPrivileges"]) == (0, "1")
    finally:
        stack.down()


class _Pictured:
    """A client that deploys with an image."""

    def __init__(self, client: Any):
        self._client = client

    def deploy(self, manifest: Any, content_hash: str, archive: str) -> Any:
        return self._client.deploy(manifest, content_hash, archive, images.NAME)
