"""The ports of the private Nomad from one start to the next, and what its log of changes must know when they move."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from sojourn.control_plane.embedded.nomad_configuration import Ports

_FILE = "ports.json"


def of_last_time(directory: Path) -> Ports | None:
    """Those of the last start here: jobs, node and users know it by them."""
    try:
        return Ports(**json.loads((directory / _FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def keep(directory: Path, ports: Ports) -> None:
    """For the next start."""
    (directory / _FILE).write_text(json.dumps(asdict(ports)) + "\n")


def tell_raft(directory: Path, ports: Ports) -> None:
    """Moves a server to other ports: its Raft log has its own address, and a lone voter cannot vote a new one in.

    Nomad reads the file at the next start and removes it.
    """
    raft = directory / "server" / "raft"
    if not (raft / "raft.db").exists():
        return
    server = (directory / "server" / "node-id").read_text().strip()
    peers = [{"id": server, "address": f"127.0.0.1:{ports.rpc}", "non_voter": False}]
    (raft / "peers.json").write_text(json.dumps(peers))
