"""The configuration of the private agent: server and client in one, on loopback, for short batch jobs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_LOOPBACK = "127.0.0.1"
#: Each asks a cloud's metadata service, or a service of its own, and waits: nothing of it is there.
_NOT_LOOKED_FOR = ("env_aws", "env_azure", "env_gce", "env_digitalocean", "consul", "vault")
_DOCKER_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the agent listens on loopback."""

    http: int
    rpc: int
    serf: int

    @property
    def are_free(self) -> bool:
        """Whether nobody else listens there."""
        try:
            with ExitStack() as held:
                for port in asdict(self).values():
                    _hold(held, port)
        except OSError:
            return False
        return True


def free_ports() -> Ports:
    """Three that nobody uses at this moment."""
    with ExitStack() as held:
        return Ports(*(_hold(held, 0) for _ in range(3)))


def drivers() -> tuple[str, ...]:
    """What the agent may run tasks by: docker only where its engine is."""
    return ("raw_exec", "exec", "docker") if _DOCKER_SOCKET.exists() else ("raw_exec", "exec")


def configuration(data_dir: Path, ports: Ports, region: str, allowed_drivers: Sequence[str]) -> dict[str, Any]:
    """As Nomad reads it from a JSON file. `data_dir` is absolute."""
    return {
        "name": "sojourn",
        "region": region,
        "data_dir": str(data_dir),
        "bind_addr": _LOOPBACK,
        "ports": asdict(ports),
        # Without it the agent looks for an address that others reach it by, which may not be there.
        "advertise": {name: f"{_LOOPBACK}:{port}" for name, port in asdict(ports).items()},
        "disable_update_check": True,
        "acl": {"enabled": True},
        "server": _server(),
        "client": _client(allowed_drivers),
        "consul": {"auto_advertise": False, "server_auto_join": False, "client_auto_join": False},
        "plugin": {"raw_exec": {"config": {"enabled": True}}},
    }


def _server() -> dict[str, Any]:
    return {
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
    }


def _client(allowed_drivers: Sequence[str]) -> dict[str, Any]:
    return {
        "enabled": True,
        "network_interface": "lo",
        # A run may take its time to hand itself back; the default would cut a longer `kill_timeout` to 30 s.
        "max_kill_timeout": "1h",
        # Each allocation that is over keeps a directory and two mounts until it is collected.
        "gc_interval": "30s",
        "gc_max_allocs": 50,
        "options": {
            "fingerprint.denylist": ",".join(_NOT_LOOKED_FOR),
            "driver.allowlist": ",".join(allowed_drivers),
        },
    }


def _hold(held: ExitStack, port: int) -> int:
    probe = held.enter_context(socket.socket())
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind((_LOOPBACK, port))
    return int(probe.getsockname()[1])
