"""The network of a sandbox: a pair of interfaces, what it reaches, what it does not. Decisions first, then the acts.

Two walls, so that a firewall which is loaded anew opens nothing: unreachable routes inside, where user code may not
change them, and an nf_tables table on the node.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import zlib

from sojourn.executor_shim.sandbox import netlink
from sojourn.executor_shim.sandbox.options import DENIED
from sojourn.executor_shim.sandbox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sojourn.executor_shim.sandbox.options import Options

INSIDE = "eth0"
_PREFIX = "sj"
#: Networks that other programs make on a node, and have it forward for: containers', machines'.
_BRIDGES = ("docker*", "br-*", "podman*", "cni*", "nomad*", "virbr*", "lxdbr*", "lxcbr*")
_FORWARDING = "/proc/sys/net/ipv4/ip_forward"
_PATIENCE = 2.0
#: The table that keeps a node from being a router, and the file that says that it was none before (gone with a boot).
_NODE_TABLE, _WAS_CLOSED = "sojourn-node", "forwarded-nothing"


class NoFilter(OSError):
    """This node cannot filter a sandbox's network; the text says what it lacks."""


class Wire(Record):
    """A slot's pair of interfaces: the node's side by name and address, and the address inside. Prefix 30."""

    name: str
    gateway: str
    address: str


class Rules(Record):
    """What every sandbox with the same options has in common. `table` is named by what is in it."""

    table: str
    text: str
    prefix: str
    denied: tuple[str, ...]
    allowed: tuple[str, ...]


def rules(options: Options) -> Rules:
    """The node's table for these options."""
    denied = tuple(sorted({*DENIED, *options.deny, options.pool}))
    allowed = tuple(sorted(set(options.allow)))
    key = f"{zlib.crc32(repr((denied, allowed, options.pool)).encode()):08x}"[:6]
    prefix = f"{_PREFIX}{key}-"
    table = f"sojourn-{key}"
    return Rules(table, _table(table, prefix, options.pool, denied, allowed), prefix, denied, allowed)


def wire(made: Rules, pool: str, slot: int) -> Wire:
    """A slot's part of the pool."""
    first = int.from_bytes(socket.inet_aton(pool.partition("/")[0]), "big") + 4 * slot
    gateway, address = (socket.inet_ntoa((first + offset).to_bytes(4, "big")) for offset in (1, 2))
    return Wire(f"{made.prefix}{slot}", gateway, address)


def _table(name: str, prefix: str, pool: str, denied: tuple[str, ...], allowed: tuple[str, ...]) -> str:
    """Longest prefix wins, as for routes: an allowed network inside a denied one is let through before it."""
    ordered = sorted(
        [(each, "reject with icmpx admin-prohibited") for each in denied] + [(each, "accept") for each in allowed],
        key=lambda pair: (-_prefix(pair[0])[1], pair[1] == "accept"),
    )
    verdicts = "\n".join(f"    ip daddr {network} {verdict}" for network, verdict in ordered)
    return f"""table inet {name} {{
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname "{prefix}*" reject with icmpx admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname "{prefix}*" jump out
    oifname "{prefix}*" ct state established,related accept
    oifname "{prefix}*" drop
  }}
  chain out {{
    meta nfproto != ipv4 drop
    ip saddr != {pool} drop
    oifname "{_PREFIX}*" reject with icmpx admin-prohibited
{verdicts}
    accept
  }}
  chain nat {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {pool} oifname != "{_PREFIX}*" masquerade
  }}
}}
"""


def _prefix(network: str) -> tuple[str, int]:
    address, _, length = network.partition("/")
    return address, int(length or 32)


def prepare_node(made: Rules, run_dir: str) -> None:
    """The node's tables, and forwarding; they are there already but for the first sandbox, or after a flush. `NoFilter`."""
    was_closed = os.path.join(run_dir, _WAS_CLOSED)
    if _read(_FORWARDING) == "0":
        os.makedirs(run_dir, 0o700, exist_ok=True)
        os.close(os.open(was_closed, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        if not netlink.has_table(made.table):
            _load((_stay_closed() if os.path.exists(was_closed) else "") + made.text)
    except (PermissionError, TimeoutError):
        raise
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS):  # not that it cannot
            raise
        raise NoFilter(error.errno or 0, f"nf_tables: {error}") from error
    if _read(_FORWARDING) == "0":
        _write(_FORWARDING, "1")


def _stay_closed() -> str:
    """Where the node forwarded nothing, it becomes no router: it forwards for sandboxes and for networks of its own."""
    if netlink.has_table(_NODE_TABLE):
        return ""
    others = "\n".join(f'    iifname "{name}" accept\n    oifname "{name}" accept' for name in (f"{_PREFIX}*", *_BRIDGES))
    return f"""table inet {_NODE_TABLE} {{
  chain forward {{
    type filter hook forward priority 10; policy accept;
{others}
    drop
  }}
}}
"""


def _load(text: str) -> None:
    import shutil
    import subprocess

    tool = shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if tool is None:
        raise NoFilter(0, "there is no `nft`: apt-get install nftables")
    try:
        done = subprocess.run([tool, "-f", "-"], input=text, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(errno.ETIMEDOUT, "nft did not come to an end within 10 s") from error
    if done.returncode:
        raise NoFilter(0, f"nft: {done.stderr.strip()[:500]}")


def connect(outside: netlink.Link, made: Wire, process: int) -> None:
    """The pair, with the node's side up and the other in the network namespace of `process`.

    The kernel removes a pair with its namespace, a moment after the last process of a sandbox that was killed: one of
    the same name is such a remnant, since the slot is ours.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        outside.delete(made.name)
        try:
            outside.add_veth(made.name, INSIDE, process)
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise
    outside.address(made.name, made.gateway, 30)
    outside.up(made.name)


def settle(made: Wire, rules_: Rules, own: list[str], relayed: tuple[str, ...]) -> None:
    """Inside: its addresses and routes.

    `own` are the node's addresses, which are closed off one by one; at those of `relayed` somebody listens inside.
    """
    inside = netlink.Link()
    try:
        _loopback(inside, relayed)
        _write(f"/proc/sys/net/ipv6/conf/{INSIDE}/disable_ipv6", "1")
        inside.address(INSIDE, made.address, 30)
        inside.up(INSIDE)
        inside.route("0.0.0.0", 0, via=made.gateway, over=INSIDE)  # noqa: S104 - a route
        for network in rules_.allowed:
            inside.route(*_prefix(network), via=made.gateway, over=INSIDE)
        for network in (*rules_.denied, *(f"{each}/32" for each in own), f"{made.gateway}/32"):
            if not network.startswith(("0.0.0.0/", "127.")):  # its own
                inside.close_off(*_prefix(network))
    finally:
        inside.close()


def only_loopback(relayed: tuple[str, ...]) -> None:
    """Inside: nothing but itself, and those of `relayed`."""
    inside = netlink.Link()
    try:
        _loopback(inside, relayed)
    finally:
        inside.close()


def _loopback(inside: netlink.Link, relayed: tuple[str, ...]) -> None:
    inside.up("lo")
    for each in relayed:
        if ":" not in each and not each.startswith("127."):
            inside.address("lo", each, 32)


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except FileNotFoundError:  # a kernel without IPv6
        return
