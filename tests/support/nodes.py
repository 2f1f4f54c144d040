"""Network namespaces that stand for a node and for the world beyond it: tests of filters never leave this machine.

The world answers at every address that a sandbox must not reach, so that a refusal is the sandbox's doing.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from sojourn.executor_shim.sandbox.netlink import Link

NODE, WORLD = "203.0.113.1", "203.0.113.2"
#: Addresses of the world by what they stand for.
PRIVATE, METADATA, PERMITTED = "10.9.9.9", "169.254.169.254", "10.8.8.8"
_NEW_NETWORK = 0x40000000


class Namespace:
    """A network namespace that lives as long as its holder."""

    def __init__(self) -> None:
        # The shell's `read` tells when it is there: it is started inside.
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo in; exec sleep infinity"], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"in\n"
        self.pid = self._holder.pid
        self.prefix = ("nsenter", f"--net=/proc/{self.pid}/ns/net")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside; what it opens stays there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.setns(there, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home, _NEW_NETWORK) == 0
            os.close(home)
            os.close(there)

    def listen(self, address: str, port: int) -> socket.socket:
        """A listener that accepts nobody by itself: to connect is enough."""
        with self.entered():
            return socket.create_server((address, port))

    def can_connect(self, address: str, port: int) -> bool:
        """Whether a process inside, without a sandbox, gets there."""
        with self.entered():
            try:
                socket.create_connection((address, port), 3).close()
                return True
            except OSError:
                return False

    def interfaces(self) -> list[str]:
        """Names of its interfaces."""
        with self.entered():
            return [name for _, name in socket.if_nameindex()]

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


class Node:
    """A node with an uplink to a world; `listeners` are in that world and on the node itself."""

    def __init__(self) -> None:
        self.inside, self.world = Namespace(), Namespace()
        with self.inside.entered():
            link = Link()
            link.up("lo")
            link.add_veth("uplink", "node", self.world.pid)
            link.address("uplink", NODE, 24)
            link.up("uplink")
            link.route("0.0.0.0", 0, via=WORLD, over="uplink")
            link.close()
        with self.world.entered():
            link = Link()
            link.up("lo")
            link.address("node", WORLD, 24)
            link.up("node")
            for each in (PRIVATE, METADATA, PERMITTED):
                link.address("lo", each, 32)
            link.close()
        self.listeners = [
            self.world.listen("0.0.0.0", 80),
            self.inside.listen("127.0.0.1", 5432),
            self.inside.listen("0.0.0.0", 6379),
            self.inside.listen("127.0.0.1", 4646),
        ]

    def close(self) -> None:
        for each in self.listeners:
            each.close()
        self.inside.close()
        self.world.close()


def has_table(node: Node, name: str) -> bool:
    """Whether the node's firewall has a table of that name."""
    from sojourn.executor_shim.sandbox import netlink

    with node.inside.entered():
        return netlink.has_table(name)
