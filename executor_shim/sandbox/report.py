"""What a sandbox on this node holds, what it does not, why, and what would change that: found out by making one."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass

from sojourn.executor_shim.sandbox.keeper import Keeper, SandboxFailed
from sojourn.executor_shim.sandbox.options import FILTERED, HOST, OFF, Plan, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sojourn.executor_shim.sandbox.options import Options

_INSTALL_NFT = "apt-get install nftables   # or your system's package of nft"
_AS_ROOT = "run the executor's shim as root (sojourn up as root; a Nomad client with the raw_exec driver)"
_DELEGATE = "systemd-run --scope -p Delegate=yes …   # a control group of its own for the stack, or a Nomad task's own"
_CAPABILITIES = 'plugin "docker" { config { allow_caps = ["sys_admin", "net_admin", …] } }   # or the raw_exec driver'
#: Runs inside and tells what it sees.
_PROBE = """
import json, os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
told = {name: status.get(name, "").strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")}
told |= {"uid": os.getuid(), "pid": os.getpid(), "processes": [p for p in os.listdir("/proc") if p.isdigit()]}
told["seen"] = [path for path in ("/etc/shadow", "/run/docker.sock", "/home", "/var/lib", "/boot") if os.path.exists(path)]
told["interfaces"] = [name for _, name in socket.if_nameindex()]
try:
    open("/usr/probe", "w")
except OSError as error:
    told["write"] = error.errno
print(json.dumps(told))
"""


@dataclass(frozen=True, slots=True)
class Property:
    """`change`: the lines that would make it hold, where something would."""

    name: str
    holds: bool
    why: str
    change: str = ""


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """`mode` is what was asked for; `properties` are in the order in which they are built."""

    mode: str
    properties: tuple[Property, ...]
    #: What a frozen process needs of the node that it is thawed on; empty where nothing is frozen.
    node_type: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"mode": self.mode, "nodeType": self.node_type, "properties": [asdict(each) for each in self.properties]}

    def as_text(self) -> str:
        """A table, and below it what would change it."""
        width = max(len(each.name) for each in self.properties)
        lines = [f"{each.name:{width}}  {'holds' if each.holds else 'no':5}  {each.why}" for each in self.properties]
        changes = [f"{each.name}:\n    {each.change}" for each in self.properties if not each.holds and each.change]
        kind = ["", f"node type: {self.node_type}"] if self.node_type else []
        return "\n".join([*lines, *kind, *(["", "To change that:", *changes] if changes else [])])


NAMES = (
    "namespaces", "user", "capabilities", "no_new_privs", "system calls", "files", "processes", "memory", "network",
    "freezable",
)  # fmt: skip


def examine(options: Options, code: tuple[str, ...]) -> SandboxReport:
    """Makes a sandbox as an executor of these options would, and looks around in it. Before any thread is started."""
    if options.mode == OFF:
        return _none(options.mode, "it is switched off", "SOJOURN_SANDBOX=auto")
    if os.geteuid() != 0:
        return _none(options.mode, "this process does not run as root", _AS_ROOT)
    keeper = Keeper.start()
    try:
        return _with_freezing(judge(options, *_look(keeper, options, code)), keeper, options, code)
    except SandboxFailed as failed:
        if failed.kind == "NoFilter" and options.network == FILTERED:
            return _without_filter(keeper, options, code, str(failed.strerror))
        return _none(options.mode, str(failed.strerror), _CAPABILITIES)
    finally:
        keeper.close()


def judge(options: Options, told: Mapping[str, Any], missing: Mapping[str, str]) -> SandboxReport:
    """What the probe told, as properties. Pure."""
    limit = "its own user is limited instead (RLIMIT_NPROC)"
    watch = "the shim looks at the resident size every 100 ms instead"
    wired = "eth0" in told["interfaces"]
    network = {
        FILTERED: "egress is open; the node, private networks, link-local and other runs are not reached",
        HOST: "it shares the node's network, with its loopback",
    }.get(options.network, "there is none but the API's address")
    found = [
        Property("namespaces", len(told["processes"]) == 1, f"mount, pid, ipc, uts; {_count(told['processes'])} in sight"),
        Property("user", told["uid"] >= 1000, f"uid {told['uid']}"),
        Property("capabilities", not int(told["CapEff"] + told["CapPrm"] + told["CapBnd"], 16), "none, and an empty bound"),
        Property("no_new_privs", told["NoNewPrivs"] == "1", "set"),
        Property("system calls", told["Seccomp"] == "2", f"filtered on {platform.machine()}"),
        Property("files", "write" in told and not told["seen"], "read-only, and of the node's only what programs need"),
        Property("processes", "pids" not in missing, missing.get("pids", "by a control group"), ""),
        Property("memory", "memory" not in missing, missing.get("memory", "by a control group"), ""),
        Property("network", options.network != HOST and wired == (options.network == FILTERED), network),
        Property("freezable", told["pid"] == 20_001, "a process has no number of its own: CONFIG_CHECKPOINT_RESTORE"),
    ]
    return SandboxReport(options.mode, tuple(_explained(each, {"processes": limit, "memory": watch}) for each in found))


def _explained(each: Property, instead: Mapping[str, str]) -> Property:
    if each.holds or each.name not in instead:
        return each
    return Property(each.name, False, f"no control group ({each.why}): {instead[each.name]}", _DELEGATE)


def _without_filter(keeper: Keeper, options: Options, code: tuple[str, ...], why: str) -> SandboxReport:
    """`auto` shares the node's network then; `required` makes none."""
    if options.mode == "required":
        return _none(options.mode, why, _INSTALL_NFT)
    try:
        weaker = options._replace(network=HOST)
        found = _with_freezing(judge(weaker, *_look(keeper, weaker, code)), keeper, weaker, code)
    except SandboxFailed as failed:
        return _none(options.mode, str(failed.strerror), _CAPABILITIES)
    shared = Property("network", False, f"it shares the node's network: {why}", _INSTALL_NFT)
    properties = tuple(shared if each.name == "network" else each for each in found.properties)
    return SandboxReport(found.mode, properties, found.node_type)


def _with_freezing(found: SandboxReport, keeper: Keeper, options: Options, code: tuple[str, ...]) -> SandboxReport:
    """What was judged to be freezable is frozen."""
    from sojourn.executor_shim import freezing
    from sojourn.executor_shim.sandbox import rehearsal

    *others, freezable = found.properties
    criu = freezing.find_criu()
    if not freezable.holds:
        return found
    why = rehearsal.why_not(keeper, _plan(options, code))
    if why is not None or criu is None:
        change = "" if criu and freezing.obstacle() is None else f"{freezing.HOW}; pip install 'sojourn[freezing]'"
        return SandboxReport(found.mode, (*others, Property(freezable.name, False, str(why), change)))
    told = f"tried with criu {freezing.version(criu)}: waits that last are frozen, and cost nothing"
    return SandboxReport(found.mode, (*others, Property(freezable.name, True, told)), freezing.node_type(criu))


def _plan(options: Options, code: tuple[str, ...]) -> Plan:
    return Plan(options, "probe", code, Target("127.0.0.1", 3030), {"PATH": os.environ.get("PATH", "")})


def _look(keeper: Keeper, options: Options, code: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    from sojourn.executor_shim.sandbox.process import SandboxedProcess

    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        process = SandboxedProcess(
            keeper, _plan(options, code), [sys.executable, "-I", "-c", _PROBE], {1: writing, 2: writing}
        )
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    process.kill()
    process.close()
    try:
        return json.loads(said), process.missing
    except ValueError:
        raise SandboxFailed(0, f"the probe said {said[-500:].decode(errors='replace')!r}") from None


def _none(mode: str, why: str, change: str) -> SandboxReport:
    return SandboxReport(mode, tuple(Property(name, False, why, change if name == NAMES[0] else "") for name in NAMES))


def _count(processes: list[str]) -> str:
    return "itself alone" if len(processes) == 1 else f"{len(processes)} processes"
