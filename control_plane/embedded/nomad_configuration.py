"""The configuration of the private Nomad: a server and a client on loopback, for short batch jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sojourn.control_plane.cluster_facts import ALLOWED
from sojourn.control_plane.embedded import free_ports as loopback

_LOOPBACK = "127.0.0.1"
#: A client advertises all three as well, and listens for the first alone.
_NEEDED = ("http", "rpc", "serf")
#: Each asks a cloud's metadata service, or a service of its own, and waits: nothing of it is there.
_NOT_LOOKED_FOR = ("env_aws", "env_azure", "env_gce", "env_digitalocean", "consul", "vault")
_DOCKER_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where server and client listen on loopback. A client listens for HTTP alone."""

    http: int
    rpc: int
    serf: int
    client_http: int

    @property
    def are_free(self) -> bool:
        """Whether nobody else listens there."""
        try:
            with ExitStack() as held:
                for port in asdict(self).values():
                    loopback.hold(held, port)
        except OSError:
            return False
        return True


def free_ports() -> Ports:
    """Four that nobody uses at this moment."""
    return Ports(*loopback.free_ports(4))


def drivers() -> tuple[str, ...]:
    """What the agent may run tasks by: docker only where its engine is."""
    return ("raw_exec", "exec", "docker") if _DOCKER_SOCKET.exists() else ("raw_exec", "exec")


def server(directory: Path, ports: Ports, region: str) -> dict[str, Any]:
    """As Nomad reads it from a JSON file. `directory` is absolute."""
    return {
        **_agent("sojourn-server", directory, region, {"http": ports.http, "rpc": ports.rpc, "serf": ports.serf}),
        "server": {
            "enabled": True,
            "bootstrap_expect": 1,
            # Nobody else can lead: the shortest election there is.
            "raft_multiplier": 1,
            # Every run is a job: what is over must go soon. Nomad's own times are hours and a day.
            "job_gc_interval": "1m",
            "job_gc_threshold": "10m",
            "eval_gc_threshold": "10m",
            "batch_eval_gc_threshold": "10m",
            "deployment_gc_threshold": "10m",
            # A machine preset's memory is what is asked for; its limit is higher.
            "default_scheduler_config": {"memory_oversubscription_enabled": True},
        },
    }


def client(
    directory: Path,
    allocations: Path,
    ports: Ports,
    region: str,
    allowed_drivers: Sequence[str],
    chroot: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """As Nomad reads it from a JSON file. `directory` and `allocations` are absolute.

    `chroot`: what tasks of the driver exec see, paths of the node to paths of theirs.
    """
    return {
        **_agent("sojourn", directory, region, {"http": ports.client_http}),
        "client": {
            "enabled": True,
            "servers": [f"{_LOOPBACK}:{ports.rpc}"],
            # Short: a task's socket has a path of some hundred bytes at most.
            "alloc_dir": str(allocations),
            "network_interface": "lo",
            # A run may take its time to hand itself back; the default would cut a longer `kill_timeout` to 30 s.
            "max_kill_timeout": "1h",
            # Each allocation that is over keeps a directory and two mounts until it is collected.
            "gc_interval": "30s",
            "gc_max_allocs": 50,
            "chroot_env": dict(chroot),
            "options": {
                "fingerprint.denylist": ",".join(_NOT_LOOKED_FOR),
                "driver.allowlist": ",".join(allowed_drivers),
            },
        },
        "plugin": {
            "raw_exec": {"config": {"enabled": True}},
            "exec": {"config": {"allow_caps": list(ALLOWED)}},
            "docker": {"config": {"allow_caps": list(ALLOWED)}},
        },
    }


def _agent(name: str, directory: Path, region: str, ports: dict[str, int]) -> dict[str, Any]:
    return {
        "name": name,
        "region": region,
        "data_dir": str(directory),
        "bind_addr": _LOOPBACK,
        "ports": ports,
        # Without it the agent looks for an address that others reach it by, which may not be there.
        "advertise": {each: f"{_LOOPBACK}:{ports[each]}" if each in ports else _LOOPBACK for each in _NEEDED},
        "disable_update_check": True,
        "acl": {"enabled": True},
        "consul": {"auto_advertise": False, "server_auto_join": False, "client_auto_join": False},
    }
