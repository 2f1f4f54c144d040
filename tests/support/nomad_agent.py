"""A real Nomad for tests: the private agent of the stack, on a directory of the session's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sojourn.control_plane.embedded import nomad_configuration, nomad_remains, process
from sojourn.control_plane.embedded.free_ports import free_ports
from sojourn.control_plane.embedded.nomad import NomadAgent, find_binary
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, nomad_client, signing_keys
from tests.support.stack import BUSY, until


class _Open(NomadAgent):
    """Whose servers speak with others in clear: its certificates are of its own region alone."""

    def _tls(self, role: str) -> dict[str, object]:
        return {}


@contextmanager
def agent(*drivers: str, of_a_federation: bool = False) -> Iterator[NomadAgent]:
    """An agent that takes jobs; `access` has the least rights, `management` all. `drivers`: others than its usual ones."""
    binary = required_binary()
    kind = _Open if of_a_federation else NomadAgent
    with tempfile.TemporaryDirectory(prefix="sojourn-nomad-") as directory:
        made = kind(binary, Path(directory), allowed_drivers=drivers or None)
        try:
            made.start(60 * BUSY)
            yield made
        finally:
            made.stop()


@contextmanager
def node_in_pool(agent: NomadAgent, pool: str) -> Iterator[str]:
    """Another client of an agent, in a node pool of its own; the node's id."""
    ports = agent._ports
    assert ports
    name = f"sojourn-{pool}"
    with tempfile.TemporaryDirectory(prefix="sojourn-node-") as made:
        directory = Path(made)
        told = nomad_configuration.client(
            directory / "client", directory / "alloc", replace(ports, client_http=free_ports(1)[0]), "global", ("raw_exec",)
        )
        told |= {"name": name, "tls": agent._tls("client"), "client": {**told["client"], "node_pool": pool}}
        child = _start(directory, "client", told)
        nodes = nomad_client(agent.management).nodes
        try:
            yield until(
                lambda: [node["ID"] for node in nodes.get_nodes() if _is_ready(node, name)], 60, f"{name} is ready"
            )[0]
        finally:
            process.end(child, signal.SIGTERM, 10)
            nomad_remains.end_tasks(directory, directory / "alloc")
            nomad_remains.unmount(directory)


@contextmanager
def federated(agent: NomadAgent, region: str) -> Iterator[NomadAccess]:
    """Another region in the federation of an agent, a server and a client: reached through that agent."""
    assert agent._ports
    ports = nomad_configuration.free_ports()
    with tempfile.TemporaryDirectory(prefix="sojourn-region-") as made:
        directory = Path(made)
        server = nomad_configuration.server(directory / "server", ports, region)
        server["server"] |= {
            "authoritative_region": agent.access.region,
            "server_join": {"retry_join": [f"127.0.0.1:{agent._ports.serf}"], "retry_interval": "1s"},
        }
        server["acl"] |= {"replication_token": agent.management.token}
        client = nomad_configuration.client(directory / "client", directory / "alloc", ports, region, ("raw_exec",))
        access = replace(agent.access, region=region, token=_global_token(agent))
        children = []
        try:
            children.append(_start(directory, "server", server))
            until(lambda: _has_keys(access), 60, f"{region} is there")
            children.append(_start(directory, "client", client))
            nodes = nomad_client(replace(agent.management, region=region)).nodes
            until(lambda: [node for node in nodes.get_nodes() if _is_ready(node, "sojourn")], 60, "its node is ready")
            yield access
        finally:
            for child in reversed(children):
                process.end(child, signal.SIGTERM, 10)
            nomad_remains.end_tasks(directory, directory / "alloc")
            nomad_remains.unmount(directory)


def _global_token(agent: NomadAgent) -> str:
    """One that every region knows."""
    told = {"Name": "everywhere", "Type": "client", "Policies": ["sojourn"], "Global": True}
    return str(nomad_client(agent.management).acl.create_token(told)["SecretID"])


def _has_keys(access: NomadAccess) -> bool:
    try:
        return bool(signing_keys(nomad_client(access)))
    except BaseNomadException:
        return False


def _start(directory: Path, name: str, told: dict[str, Any]) -> subprocess.Popen[bytes]:
    file = directory / f"{name}.json"
    file.write_text(json.dumps(told))
    command = [str(required_binary()), "agent", f"-config={file}"]
    return process.start(command, directory / f"{name}.log", directory=directory)


def _is_ready(node: dict[str, Any], name: str) -> bool:
    return bool(node["Name"] == name and node["Status"] == "ready" and node["Drivers"]["raw_exec"]["Healthy"])


def required_binary() -> Path:
    """Nomad's program, where a test may start it; else the test is skipped, or fails in CI."""
    binary = find_binary()
    if binary is None:
        _absent("there is no nomad program: `make nomad` builds it")
    if os.geteuid() != 0:
        _absent("only root can start it")
    assert binary
    return binary


def _absent(why: str) -> None:
    """A real part that is missing: skipped on a laptop, a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have Nomad: {why}", pytrace=False)
    pytest.skip(f"Nomad is not to be had here: {why}")
