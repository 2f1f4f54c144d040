"""A node on which sandboxes are made becomes no router: seen between network namespaces of the test's own."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.nodes import NODE, PERMITTED, Namespace, Node, has_table
from tests.support.sandboxes import needs_sandboxes

from sojourn.executor_shim.sandbox.netlink import Link
from sojourn.executor_shim.sandbox.network import prepare_node, rules
from sojourn.executor_shim.sandbox.options import Options


@pytest.fixture
def node() -> Iterator[Node]:
    needs_sandboxes()
    made = Node()
    yield made
    made.close()


def neighbour(node: Node, interface: str, third: int) -> Namespace:
    """A namespace behind an interface of the node, with the node as its way to the world."""
    made = Namespace()
    gateway, address = f"198.51.{third}.1", f"198.51.{third}.2"
    with node.inside.entered():
        link = Link()
        link.add_veth(interface, "uplink", made.pid)
        link.address(interface, gateway, 24)
        link.up(interface)
        link.close()
    with made.entered():
        link = Link()
        link.address("uplink", address, 24)
        link.up("uplink")
        link.route("0.0.0.0", 0, via=gateway, over="uplink")
        link.close()
    with node.world.entered():
        link = Link()
        link.route(f"198.51.{third}.0", 24, via=NODE, over="node")
        link.close()
    return made


def forward(node: Node, whether: str) -> None:
    """A new namespace begins as the machine is."""
    with node.inside.entered(), open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write(whether)


def forwards(node: Node) -> str:
    with node.inside.entered(), open("/proc/sys/net/ipv4/ip_forward") as file:
        return file.read().strip()


def test_forwarding_is_for_sandboxes_and_bridges_of_the_node_alone(node: Node, tmp_path: Path) -> None:
    lan, container = neighbour(node, "lan0", 1), neighbour(node, "br-0a1b2c", 2)
    forward(node, "0")
    try:
        assert (forwards(node), container.can_connect(PERMITTED, 80)) == ("0", False)
        with node.inside.entered():
            prepare_node(rules(Options()), str(tmp_path))
        assert (forwards(node), has_table(node, "sojourn-node")) == ("1", True)
        assert (lan.can_connect(PERMITTED, 80), container.can_connect(PERMITTED, 80)) == (False, True)
        # Somebody's firewall is loaded anew: the next sandbox closes the node again.
        subprocess.run(
            [*node.inside.prefix, "nft", "flush", "ruleset"], check=True, env={"PATH": "/usr/sbin:/usr/bin:/bin"}
        )
        assert lan.can_connect(PERMITTED, 80)
        with node.inside.entered():
            prepare_node(rules(Options()), str(tmp_path))
        assert (lan.can_connect(PERMITTED, 80), container.can_connect(PERMITTED, 80)) == (False, True)
        with container.entered(), socket.create_server(("0.0.0.0", 8080)):
            assert node.world.can_connect("198.51.2.2", 8080)
    finally:
        lan.close()
        container.close()


def test_a_node_that_forwards_already_is_left_as_it_is(node: Node, tmp_path: Path) -> None:
    forward(node, "1")
    lan = neighbour(node, "lan0", 1)
    try:
        with node.inside.entered():
            prepare_node(rules(Options()), str(tmp_path))
        assert not has_table(node, "sojourn-node")
        assert lan.can_connect(PERMITTED, 80)
    finally:
        lan.close()
