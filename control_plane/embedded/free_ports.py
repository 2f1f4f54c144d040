"""Ports of loopback for servers that are started later: nobody has them, and nobody is given them meanwhile.

The kernel's own choice is good for a server that listens at once. Later it may be a connection's when the server comes, or
comes again after it was killed. So these lie below what the kernel gives away, and each is claimed against other stacks of
the machine: by an abstract name, which is of a network as ports are, and is gone with the process.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

_LOOPBACK = "127.0.0.1"
#: Below those that Nomad gives to its tasks, too.
_OURS = range(10_000, 20_000)
_KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_claims: dict[int, socket.socket] = {}


def free_ports(count: int) -> list[int]:
    """So many, this process's until it ends. The kernel's choice where it may give every port away."""
    with ExitStack() as held:
        found: list[int] = []
        for port in [*(each for each in ours(_KERNELS) if each not in _claims), *[0] * count]:
            if len(found) < count:
                with suppress(OSError):
                    found.append(hold(held, port))
        return found


def ours(kernels: Path) -> list[int]:
    """Those that are tried, in any order; none where the kernel's own, which the file tells, may be among them."""
    try:
        lowest = int(kernels.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return []
    return random.sample(_OURS, len(_OURS)) if lowest >= _OURS.stop else []


def hold(held: ExitStack, port: int) -> int:
    """The port (0: of the kernel's choice); nobody else listens there until `held` is closed. `OSError`: it is taken."""
    probe = held.enter_context(socket.socket())
    # As servers do: connections of one that was there before, and is over, do no harm.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind((_LOOPBACK, port))
    probe.listen()
    if port in _OURS and port not in _claims:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0sojourn-port-{port}")
        except OSError:
            claim.close()
            raise
        _claims[port] = claim
    return int(probe.getsockname()[1])
