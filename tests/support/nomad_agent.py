"""A real Nomad for tests: the private agent of the stack, on a directory of the session's own."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sojourn.control_plane.embedded import nomad_configuration, nomad_remains, process
from sojourn.control_plane.embedded.nomad import NomadAgent, find_binary
from sojourn.control_plane.nomad_client import nomad_client
from tests.support.stack import free_port, until


@contextmanager
def agent() -> Iterator[NomadAgent]:
    """An agent that takes jobs; `access` has the least rights, `management` all."""
    binary = required_binary()
    with tempfile.TemporaryDirectory(prefix="sojourn-nomad-") as directory:
        made = NomadAgent(binary, Path(directory))
        try:
            made.start()
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
            directory / "client", directory / "alloc", replace(ports, client_http=free_port()), "global", ("raw_exec",)
        )
        told |= {"name": name, "client": {**told["client"], "node_pool": pool}}
        (directory / "client.json").write_text(json.dumps(told))
        command = [str(required_binary()), "agent", f"-config={directory / 'client.json'}"]
        child = process.start(command, directory / "client.log", directory=directory)
        nodes = nomad_client(agent.management).nodes
        try:
            yield until(
                lambda: [node["ID"] for node in nodes.get_nodes() if _is_ready(node, name)], 60, f"{name} is ready"
            )[0]
        finally:
            process.end(child, signal.SIGTERM, 10)
            nomad_remains.end_tasks(directory, directory / "alloc")
            nomad_remains.unmount(directory)


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
