"""What is wanted of the sandbox. Pure: read from the shim's settings, checked here."""

from __future__ import annotations

from sojourn.executor_shim.sandbox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

OFF, AUTO, REQUIRED = "off", "auto", "required"
FILTERED, NONE, HOST = "filtered", "none", "host"
#: Never reached from a sandbox unless `allow` names it: this machine, link-local with its metadata services, private
#: and shared ranges, multicast, what is reserved.
DENIED = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip

#: Places of a node, and addresses for them: of a range that is nobody's on any network.
SLOTS, POOL = 1024, "198.18.0.0/18"


class BadOption(ValueError):
    """An option that cannot be used; the text names it."""


class Options(Record):
    """`uid`: the first of a range, one for each slot. Sizes in bytes.

    `readable`, `writable`: paths of the node that are seen inside, too; they have to be so by their own rights.
    `allow`, `deny`: networks beside `DENIED`; the longest prefix wins, `deny` among equals.
    `forward`: `host:port`s of the node's side that are reached inside at 127.0.0.1 and that port.
    """

    mode: str = AUTO
    network: str = FILTERED
    uid: int = 0x78000000
    slots: int = SLOTS
    pool: str = POOL
    pids: int = 512
    tmp_bytes: int = 1 << 30
    shm_bytes: int = 256 << 20
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    run_dir: str = "/run/sojourn"

    @classmethod
    def read(cls, given: str | Mapping[str, Any]) -> Options:
        """Out of a mode, or of a mapping of what differs from the defaults; `BadOption`."""
        values = {"mode": given} if isinstance(given, str) else dict(given)
        known = cls._fields
        chosen: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known
        }  # fmt: skip
        options = cls(**chosen)
        _check(options)
        return options


class Target(Record):
    """One address of the node's side: a name or address, and a TCP port."""

    host: str
    port: int


class Plan(Record):
    """One sandbox to be made. `code`: directories of code, seen read-only at the same path."""

    options: Options
    executor: str
    code: tuple[str, ...]
    api: Target
    environment: Mapping[str, str]


def api_target(url: str) -> Target:
    """The host and port of the API's URL. (urllib's own way would be a part of each cold start to import.)"""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2].lower()
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "")
    return Target(name.strip("[]"), int(port) if port else (443 if scheme == "https" else 80))


def target(text: str) -> Target:
    """`host:port`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadOption(f"forward cannot be {text!r}: it takes host:port")
    return Target(host.strip("[]"), int(port))


def _check(options: Options) -> None:
    if options.mode not in (OFF, AUTO, REQUIRED):
        raise BadOption(f"sandbox cannot be {options.mode!r}: off, auto or required")
    if options.network not in (FILTERED, NONE, HOST):
        raise BadOption(f"network cannot be {options.network!r}: filtered, none or host")
    for name in ("uid", "slots", "pids", "tmp_bytes", "shm_bytes"):
        value = getattr(options, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadOption(f"{name} cannot be {value!r}: a whole number from 1")
    for path in (*options.readable, *options.writable):
        if not path.startswith("/") or ".." in path.split("/") or path.rstrip("/") in ("", "/proc", "/dev", "/tmp"):  # noqa: S108
            raise BadOption(f"{path!r} cannot be shown inside: an absolute path of its own")
    if (options.allow, options.deny, options.pool, options.slots) != ((), (), POOL, SLOTS):
        _check_networks(options)
    for each in options.forward:
        target(each)


def _check_networks(options: Options) -> None:
    import ipaddress

    for network in (*options.allow, *options.deny, options.pool):
        try:
            ipaddress.IPv4Network(network)
        except ValueError as error:
            raise BadOption(f"{network!r} is no IPv4 network: {error}") from error
    if ipaddress.IPv4Network(options.pool).num_addresses < 4 * options.slots:
        raise BadOption(f"{options.pool} has no room for {options.slots} sandboxes of 4 addresses")
