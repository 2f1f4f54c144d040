"""A Nomad cluster of several nodes on one kernel: a server on a hub, and clients each in namespaces of their own.

A node has its own network (one link to the hub's bridge), mounts, processes, host name and directories: what another
node keeps is not even there. The hub is a network namespace, too, so that nothing of this machine's own network is
touched. The kernel ends and removes everything of a node with its first process.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn.control_plane.embedded import nomad_configuration, nomad_rights, process
from sojourn.control_plane.nomad_access import NAMESPACE, NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, nomad_client, signing_keys
from sojourn.executor_shim.process_tree import descendants
from sojourn.executor_shim.sandbox import slots
from tests.support.nodes import Namespace
from tests.support.nomad_agent import required_binary
from tests.support.stack import until

HUB = "192.0.2.1"
_BRIDGE, _REGION, _NEW_NETWORK = "hub", "global", 0x40000000
#: Where a node keeps version trees unless a site says otherwise: the same path on each, and another directory.
VERSIONS = Path("/var/lib/sojourn/versions")
#: Nomad's least: a node that says nothing is lost within seconds.
_HEARTBEATS = {"min_heartbeat_ttl": "2s", "heartbeat_grace": "2s", "failover_heartbeat_ttl": "5s"}
_PROGRAMS = ("ip", "nft", "unshare", "nsenter", "mount")

#: What a node's first process does before anything else of it: $1 is its directory, the rest is seen as it is.
_BOOT = """
set -e
own=$1; shift
hostname "$(basename "$own")"
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
for path in "$own" "$@"; do
    mkdir -p "$own/tmp$path"
    mount --rbind "$path" "$own/tmp$path"
done
mount --rbind "$own/lib" /var/lib
mount --rbind "$own/tmp/tmp" /tmp
trap '' CHLD
echo up
exec sleep infinity
"""


def needs_nodes() -> None:
    """Skips the test, or fails it in CI, where a cluster of several nodes cannot be made."""
    required_binary()
    lacking = [
        name for name in _PROGRAMS if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None
    ]
    if not lacking:
        return
    why = f"several nodes need {', '.join(lacking)} (apt-get install iproute2 nftables util-linux)"
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


class Node:
    """A machine of the cluster; `number` is from 1 on. It has a directory of its own, which outlives its death."""

    def __init__(self, directory: Path, number: int, seen: list[Path]):
        self.name = f"node{number}"
        self.address = f"192.0.2.{10 + number}"
        self.directory = directory / self.name
        self.versions = self.directory / "lib" / VERSIONS.relative_to("/var/lib")
        self._seen = seen
        self._holder: subprocess.Popen[bytes] | None = None
        self._client: subprocess.Popen[bytes] | None = None
        self._init = 0
        for part in ("lib", "tmp/tmp", "nomad", "alloc"):
            (self.directory / part).mkdir(parents=True)

    def boot(self) -> None:
        """Switched on: its namespaces, its link to the hub, nothing that runs yet."""
        flags = ("--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
        command = ["unshare", *flags, "sh", "-c", _BOOT, "boot", str(self.directory), *map(str, self._seen)]
        # Whatever ends the tests ends the node.
        self._holder = subprocess.Popen(
            command, stdout=subprocess.PIPE, preexec_fn=lambda: process.tie_to_parent(signal.SIGKILL)
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        (self._init,) = descendants(self._holder.pid)
        _ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(self._init))
        _ip("link", "set", self.name, "master", _BRIDGE, "up")
        for command_ in (
            "link set lo up",
            f"addr add {self.address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {HUB}",
        ):
            self.run("ip", *command_.split())

    def run(self, *command: str) -> str:
        """Runs a program on the node; what it wrote."""
        return subprocess.run([*self._inside, *command], check=True, capture_output=True, text=True, timeout=120).stdout

    def start_client(self, binary: Path, rpc: int) -> None:
        """Starts Nomad's client on the node."""
        configuration = self.directory / "client.json"
        configuration.write_text(json.dumps(self._configuration(rpc)))
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8"}
        with (self.directory / "client.log").open("ab") as log:
            self._client = subprocess.Popen(
                [*self._inside, str(binary), "agent", f"-config={configuration}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def cut(self) -> None:
        """Its link is down: it reaches nobody, and nobody it."""
        _ip("link", "set", self.name, "down")

    def heal(self) -> None:
        """Its link is up again."""
        _ip("link", "set", self.name, "up")

    @contextmanager
    def cut_off_from(self, port: int) -> Iterator[None]:
        """While it is entered, what it sends to that port of the hub is lost, and so are the answers."""
        table = f"cut-{self.name}"
        _nft(f"""table inet {table} {{
          chain in {{ type filter hook input priority 0; ip saddr {self.address} tcp dport {port} drop; }}
          chain out {{ type filter hook output priority 0; ip daddr {self.address} tcp sport {port} drop; }}
        }}""")
        try:
            yield
        finally:
            _nft(f"delete table inet {table}")

    def kill(self) -> None:
        """Its power fails: every process of it is gone at once, as are its mounts and its network. The disk stays."""
        if self._holder is None:
            return
        groups = [*self._sandboxes(), *(path.name for path in (self.directory / "alloc").glob("*-*-*-*-*"))]
        self._holder.kill()  # the kernel kills the node's first process with it, and all others with that
        self._holder.wait()
        until(lambda: not Path(f"/proc/{self._init}").exists(), 20, f"{self.name} is off")
        if self._client is not None:
            self._client.wait()
        self._holder = None
        _remove_groups(groups)

    def unsent(self, port: int) -> int:
        """How many bytes the node's kernel has for that port of the hub, of the connection that has the most."""
        rows = [line.split() for line in Path(f"/proc/{self._init}/net/tcp").read_text().splitlines()[1:]]
        return max((int(row[4].split(":")[0], 16) for row in rows if int(row[2].split(":")[1], 16) == port), default=0)

    def processes(self) -> list[int]:
        """Its processes, by their numbers outside."""
        assert self._holder is not None and self._client is not None
        return sorted({*descendants(self._holder.pid), *descendants(self._client.pid)})

    def _sandboxes(self) -> Iterator[str]:
        """The names of the control groups of its sandboxes."""
        for lock in Path(f"/proc/{self._init}/root/run/sojourn/slots").glob("*"):
            with lock.open() as file:
                yield slots.group_name(int(lock.name), file.fileno())

    @property
    def _inside(self) -> list[str]:
        return ["nsenter", f"--target={self._init}", "--net", "--mount", "--pid", "--uts", "--ipc"]

    def _configuration(self, rpc: int) -> dict[str, Any]:
        own = self.directory
        ports = nomad_configuration.Ports(4646, rpc, 4648, 4646)
        made = nomad_configuration.client(own / "nomad", own / "alloc", ports, _REGION, ("raw_exec",))
        made["client"] |= {
            "servers": [f"{HUB}:{rpc}"],
            "network_interface": "eth0",
        }
        return {**made, "name": self.name, "advertise": dict.fromkeys(("http", "rpc", "serf"), self.address)}


class Cluster:
    """Started by `up`. The thread that does so is on the hub until `down`, and so is whatever it starts."""

    def __init__(self, nodes: int = 3):
        self._binary = required_binary()
        self.directory = Path(tempfile.mkdtemp(prefix="sojourn-nodes-"))
        self.shared = self.directory / "shared"
        self.shared.mkdir(mode=0o755)
        self.directory.chmod(0o755)
        seen = [self.shared, *_needed(self._binary)]
        self.nodes = [Node(self.directory, number, seen) for number in range(1, nodes + 1)]
        self._hub: Namespace | None = None
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._server: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """A server that leads, and every node takes jobs."""
        self._hub = Namespace()
        there = os.open(f"/proc/{self._hub.pid}/ns/net", os.O_RDONLY)
        _enter(there)
        os.close(there)
        _ip("link", "set", "lo", "up")
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{HUB}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        self.ports = nomad_configuration.free_ports()
        self._start_server()
        for node in self.nodes:
            self.switch_on(node)
        until(lambda: len(self.ready()) == len(self.nodes), 60, "every node takes jobs")

    def switch_on(self, node: Node) -> None:
        """The node boots, and its client starts."""
        node.boot()
        node.start_client(self._binary, self.ports.rpc)

    def ready(self) -> set[str]:
        """The names of the nodes that take jobs."""
        try:
            listed = nomad_client(self.management).nodes.get_nodes()
        except BaseNomadException:
            return set()
        return {
            each["Name"]
            for each in listed
            if each["Status"] == "ready" and each["Drivers"].get("raw_exec", {}).get("Healthy")
        }

    def node(self, name: str) -> Node:
        return next(each for each in self.nodes if each.name == name)

    def down(self) -> None:
        """Nothing is left."""
        for node in self.nodes:
            node.kill()
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        _enter(self._home)
        os.close(self._home)
        if self._hub is not None:
            self._hub.close()
        shutil.rmtree(self.directory)

    @property
    def access(self) -> NomadAccess:
        """What Sojourn has at run time."""
        return replace(self.management, token=nomad_rights.known_run_time_token(self.directory))

    @property
    def management(self) -> NomadAccess:
        """The right to everything."""
        token = nomad_rights.management_token(self.directory)
        return NomadAccess(f"http://{HUB}:{self.ports.http}", token, NAMESPACE, _REGION)

    def _start_server(self) -> None:
        told = nomad_configuration.server(self.directory / "server", self.ports, _REGION)
        told["bind_addr"] = HUB
        told["advertise"] = {each: f"{HUB}:{told['ports'][each]}" for each in ("http", "rpc", "serf")}
        told["server"] |= _HEARTBEATS
        told["server"]["default_scheduler_config"] |= {"scheduler_algorithm": "spread"}
        configuration = self.directory / "server.json"
        configuration.write_text(json.dumps(told))
        self._server = process.start(
            [str(self._binary), "agent", f"-config={configuration}"], self.directory / "server.log"
        )
        client = nomad_client(self.management)
        until(lambda: self._is_set_up(client), 60, "the server has a leader, rights and keys")

    def _is_set_up(self, client: Any) -> bool:
        try:
            nomad_rights.bootstrap(client, self.management.token)
            nomad_rights.run_time_token(client, self.directory)
            return bool(signing_keys(client))
        except BaseNomadException:
            return False


def _needed(binary: Path) -> list[Path]:
    """What nodes need of this machine and would not see: they have a /tmp of their own."""
    package = [Path(each).resolve() for each in sojourn.__path__]
    roots = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[2], binary.parent, *package}
    return sorted(each for each in roots if each.is_relative_to("/tmp"))


def _enter(namespace: int) -> None:
    """This thread, and what it starts from now on, is in that network."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(namespace, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=120)


def _nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, check=True, text=True, timeout=120)


def _remove_groups(names: Iterable[str]) -> None:
    """A machine's control groups end with it; those of one that is only a namespace do not."""
    top = Path("/sys/fs/cgroup")
    for path in [path for name in names for depth in ("*", "*/*", "*/*/*") for path in top.glob(f"{depth}/{name}*")]:
        for directory, _, _ in os.walk(path, topdown=False):
            with suppress(OSError):  # a later kill of the node tries again
                os.rmdir(directory)
