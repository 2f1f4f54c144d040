"""A Nomad cluster of several nodes on one machine: each client in a network and mount namespace of its own, on one bridge.

Only the kernel is shared. A node has its own address, data directory, version trees, `/run/sojourn` and control groups.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sojourn.control_plane.embedded import nomad_configuration, nomad_rights, process
from sojourn.control_plane.nomad_access import NAMESPACE, NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, nomad_client, signing_keys
from tests.support.nomad_agent import required_binary
from tests.support.stack import until

#: Names and network of this process alone, the latter of those that are kept for tests of networks: nobody has it.
_TAG = f"sj{secrets.token_hex(3)}"
_BRIDGE, _NETWORK = f"{_TAG}-b", f"198.18.{secrets.randbelow(256)}"
SERVER_ADDRESS = f"{_NETWORK}.1"
_REGION = "global"
_TOOLS = ("ip", "nft", "unshare", "nsenter", "mount")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
#: The network namespace's end of a node's cable.
_INSIDE = "eth0"


class Node:
    """One client. `trees` is where this node has its version trees; all nodes call that place the same."""

    def __init__(self, cluster: Cluster, number: int):
        self.name = f"node-{number}"
        self.address = f"{_NETWORK}.{10 + number}"
        self.directory = cluster.directory / self.name
        self.trees = self.directory / "versions"
        self._cluster = cluster
        self._space, self._cable = f"{_TAG}-node-{number}", f"{_TAG}-{number}"
        self._agent: subprocess.Popen[bytes] | None = None
        for path in (self.trees, self.directory / "data", self.directory / "alloc"):
            path.mkdir(parents=True)
        _run("ip", "netns", "add", self._space)
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", _INSIDE, "netns", self._space)
        _run("ip", "link", "set", self._cable, "master", _BRIDGE, "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "address", "add", f"{self.address}/24", "dev", _INSIDE)
        self.inside("ip", "link", "set", _INSIDE, "up")

    def start(self) -> None:
        """Starts the client, the first time or again."""
        told = self.directory / "client.json"
        told.write_text(json.dumps(self._configuration()))
        mounts = [
            f"mount --bind {self.trees} {self._cluster.versions_dir}",
            "mount -t tmpfs -o mode=700 sojourn /run/sojourn",
        ]
        command = " && ".join([*mounts, f"exec {self._cluster.binary} agent -config={told}"])
        spaces = ["ip", "netns", "exec", self._space, "unshare", "--mount", "--propagation", "private"]
        self._agent = process.start(
            [*spaces, "sh", "-c", command],
            self.directory / "client.log",
            environment={**os.environ, "PATH": _PATH},
            death_signal=signal.SIGTERM,
            directory=self.directory,
        )

    def kill(self) -> None:
        """The node loses its power: the client and whatever it runs are gone at once."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._agent is not None:
            self._agent.wait()
        until(lambda: not self.processes(), 20, f"everything on {self.name} has ended")

    def processes(self) -> list[int]:
        """Every process on this node, the client's included, and those in sandboxes of it."""
        mine = os.stat(f"/run/netns/{self._space}").st_ino
        found = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
        ours = {pid for pid in found if _network_of(pid) == mine}
        mark = str(self.directory / "alloc").encode()
        return [pid for pid in found if pid in ours or mark in _environment_of(pid)]

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Nothing reaches the node, and nothing comes from it."""
        _run("ip", "link", "set", self._cable, "down")
        try:
            yield
        finally:
            _run("ip", "link", "set", self._cable, "up")

    @contextmanager
    def cut_off_from_nomad(self) -> Iterator[None]:
        """The node reaches the control plane, but no server of Nomad."""
        chain = "add table ip cut; add chain ip cut out { type filter hook output priority 0 ; }"
        self.inside("nft", f"{chain}; add rule ip cut out tcp dport {self._cluster.ports.rpc} drop")
        try:
            yield
        finally:
            self.inside("nft", "delete table ip cut")

    def inside(self, *command: str) -> None:
        """Runs a command on the node."""
        _run("ip", "netns", "exec", self._space, *command)

    def remove(self) -> None:
        """Takes the node away, whatever is on it."""
        self.kill()
        _run("ip", "netns", "delete", self._space)
        with suppress(subprocess.CalledProcessError):  # it goes with the namespace, a moment later
            _run("ip", "link", "delete", self._cable)

    def _configuration(self) -> dict[str, Any]:
        ports = self._cluster.ports
        told = nomad_configuration.client(self.directory / "data", self.directory / "alloc", ports, _REGION, ("raw_exec",))
        told |= {"name": self.name, "bind_addr": self.address}
        told["advertise"] = {"http": f"{self.address}:{ports.client_http}", "rpc": self.address, "serf": self.address}
        told["client"] |= {
            "servers": [f"{SERVER_ADDRESS}:{ports.rpc}"],
            "network_interface": _INSIDE,
            "cgroup_parent": f"{_TAG}-{self.name}.slice",
        }
        return told


class Cluster:
    """A server at the bridge's own address and so many nodes; `access` has the least rights, `management` all."""

    def __init__(self, count: int):
        self.binary = required_binary()
        _required_tools()
        self.directory = Path(tempfile.mkdtemp(prefix="sojourn-cluster-"))
        self.versions_dir = self.directory / "versions"
        self.ports = nomad_configuration.free_ports()
        self.access = self.management = NomadAccess(f"http://{SERVER_ADDRESS}:{self.ports.http}")
        self.nodes: list[Node] = []
        self._server: subprocess.Popen[bytes] | None = None
        try:
            self._build(count)
        except BaseException:
            self.remove()
            raise

    @property
    def sites(self) -> str:
        """The setting for a stack on this cluster."""
        return json.dumps({"*": {"python": sys.executable, "versions_dir": str(self.versions_dir), "mhz_per_cpu": 20}})

    def remove(self) -> None:
        """Everything ends, and nothing is left of it."""
        for node in self.nodes:
            node.remove()
        if self._server is not None:
            process.end(self._server, signal.SIGTERM, 10)
        with suppress(subprocess.CalledProcessError):
            _run("ip", "link", "delete", _BRIDGE)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _build(self, count: int) -> None:
        self.versions_dir.mkdir()
        Path("/run/sojourn").mkdir(mode=0o700, exist_ok=True)
        _run("ip", "link", "add", _BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{SERVER_ADDRESS}/24", "dev", _BRIDGE)
        _run("ip", "link", "set", _BRIDGE, "up")
        self._start_server()
        self._admit()
        for number in range(1, count + 1):
            self.nodes.append(Node(self, number))
            self.nodes[-1].start()
        until(self.is_whole, 60, "every node is ready")

    def _start_server(self) -> None:
        told = nomad_configuration.server(self.directory / "server", self.ports, _REGION)
        ports = told["ports"]
        told |= {"bind_addr": SERVER_ADDRESS, "advertise": {name: f"{SERVER_ADDRESS}:{ports[name]}" for name in ports}}
        # A node that is silent is lost within seconds; runs go to the node that has the fewest.
        told["server"] |= {"min_heartbeat_ttl": "2s", "heartbeat_grace": "3s"}
        told["server"]["default_scheduler_config"]["scheduler_algorithm"] = "spread"
        (self.directory / "server.json").write_text(json.dumps(told))
        self._server = process.start(
            [str(self.binary), "agent", f"-config={self.directory / 'server.json'}"],
            self.directory / "server.log",
            death_signal=signal.SIGTERM,
            directory=self.directory,
        )

    def _admit(self) -> None:
        """The tokens, once there is a leader that has the keys for identities."""
        secret = nomad_rights.management_token(self.directory)
        self.management = NomadAccess(self.access.address, secret, NAMESPACE, _REGION)
        client = nomad_client(self.management)

        def keys() -> bool:
            try:
                nomad_rights.bootstrap(client, secret)
                return bool(signing_keys(client))
            except BaseNomadException:
                return False

        until(keys, 60, "the server leads")
        token = nomad_rights.run_time_token(client, self.directory)
        self.access = NomadAccess(self.access.address, token, NAMESPACE, _REGION)

    def is_whole(self) -> bool:
        """Whether every node takes jobs."""
        return len(self.ready()) == len(self.nodes)

    def ready(self) -> set[str]:
        """The names of the nodes that take jobs."""
        found = nomad_client(self.management).nodes.get_nodes()
        return {
            each["Name"]
            for each in found
            if each["Status"] == "ready" and each["Drivers"].get("raw_exec", {}).get("Healthy")
        }

    def of(self, name: str) -> Node:
        """The node of that name."""
        return next(node for node in self.nodes if node.name == name)


@contextmanager
def cluster(count: int) -> Iterator[Cluster]:
    """One that is taken away afterwards."""
    made = Cluster(count)
    try:
        yield made
    finally:
        made.remove()


def _required_tools() -> None:
    lacking = [tool for tool in _TOOLS if shutil.which(tool, path=_PATH) is None]
    if not lacking:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {', '.join(lacking)}", pytrace=False)
    pytest.skip(f"nodes in namespaces need {', '.join(lacking)}")


def _run(*command: str) -> None:
    done = subprocess.run(command, env={**os.environ, "PATH": _PATH}, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)


def _network_of(pid: int) -> int | None:
    with suppress(OSError):
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    return None


def _environment_of(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""
