"""Nomad's answers read: what is good, what is bad, and the exact lines that change it. No request is made here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from sojourn.control_plane.finding import Finding

#: The group's `disconnect` block came with it: an older server ignores it, and replaces what it lost sight of.
LEAST = (1, 8, 0)
#: Before, the token that makes two dispatches of one placement one job could be missed when both came at once.
GOOD = (1, 11, 2)
_OK, _FORBIDDEN, _MISSING = 200, 403, 404
_DISABLED = "disabled"
_OFF_BY_MUCH, _OFF_BY_LITTLE = 30.0, 2.0
_SOON = timedelta(days=7)
#: Where tasks of the driver exec find an interpreter with Sojourn on the private Nomad.
CHROOT_HOME = "/opt/sojourn"
#: Drivers that isolate a task by themselves; what they give it unless told otherwise, what a shim needs beside that to make
#: sandboxes, and both, for a client that allows it.
ISOLATING = ("exec", "docker")
_USUAL_CAPABILITIES = (
    "audit_write", "chown", "dac_override", "fowner", "fsetid", "kill", "mknod", "net_bind_service", "setfcap", "setgid",
    "setpcap", "setuid", "sys_chroot",
)  # fmt: skip
SANDBOX_CAPABILITIES = ("net_admin", "sys_admin", "sys_ptrace")
ALLOWED = (*_USUAL_CAPABILITIES, *SANDBOX_CAPABILITIES)
_DRIVERS = {
    "raw_exec": 'plugin "raw_exec" { config { enabled = true } }',
    "exec": "run the client as root, with control groups",
    "docker": "install Docker on the client",
}
#: What Nomad answers to the request that tries a right, if the right is there: status and a word of the text.
_EXPECTED = {
    "list-jobs": ((_OK,), ""),
    "read-job": ((_MISSING,), "job not found"),
    "submit-job": ((400, 409, 500), "modify index"),
    "dispatch-job": ((_MISSING, 500), "parameterized job not found"),
}


def token(status: int, told: Any, now: datetime | None = None, setting: str = "NOMAD_TOKEN") -> Finding:
    """`told` is the token that Nomad takes ours for, or a text; `setting` is what names ours."""
    if status == _FORBIDDEN:
        return Finding("token", "bad", f"Nomad does not know {setting}: {_NEW_TOKEN}")
    if status != _OK and _DISABLED not in str(told):
        return _untried("token", status, told)
    if not isinstance(told, Mapping):
        return Finding(
            "token", "note", "ACLs are off: whoever reaches Nomad can do everything; servers: acl { enabled = true }"
        )
    if told["AccessorID"] == "anonymous":
        return Finding("token", "bad", f"{setting} is not set: {_NEW_TOKEN}")
    if told["Type"] == "management":
        return Finding("token", "note", f"{told['Name']!r} may do everything, more than is needed: {_NEW_TOKEN}")
    ends = told.get("ExpirationTime")
    if ends and datetime.fromisoformat(ends.replace("Z", "+00:00")) < (now or datetime.now(UTC)) + _SOON:
        return Finding("token", "note", f"{told['Name']!r} expires at {ends}: {_NEW_TOKEN}")
    return Finding("token", "ok", f"{told['Name']!r}, policies {', '.join(told['Policies'] or ()) or 'by role'}")


_NEW_TOKEN = "nomad acl token create -name sojourn -policy sojourn"  # noqa: S105 - a command


def namespace(status: int, told: Any, name: str) -> Finding:
    """`told` is the namespace, or a text."""
    if status == _FORBIDDEN:
        return Finding("namespace", "bad", f"{name} is not there, or the token may do nothing in it: {_apply_policy(name)}")
    if status == _MISSING:
        return Finding("namespace", "bad", f"{name} is not there: nomad namespace apply {name}")
    if status != _OK or not isinstance(told, Mapping):
        return _untried("namespace", status, told)
    capabilities = told.get("Capabilities") or {}
    allowed, denied = capabilities.get("EnabledTaskDrivers") or [], capabilities.get("DisabledTaskDrivers") or []
    if allowed or denied:
        limits = f"drivers allowed: {', '.join(allowed) or 'all'}; denied: {', '.join(denied) or 'none'}"
        return Finding(
            "namespace", "note", f"{name}, {limits}: change by `nomad namespace apply` with a capabilities block"
        )
    return Finding("namespace", "ok", name)


def capability(name: str, of: str, status: int, told: Any) -> Finding:
    """Whether a request that needs the capability was let through: Nomad then answers as is expected of it."""
    statuses, words = _EXPECTED[name]
    if status in statuses and words in str(told).lower():
        return Finding(f"right {name}", "ok", f"in namespace {of}")
    if status != _FORBIDDEN:
        return _untried(f"right {name}", status, told)
    if _DISABLED in str(told):
        advice = "nomad operator scheduler set-config -reject-job-registration=false"
        return Finding(f"right {name}", "bad", f"the cluster takes no jobs at present ({told}): {advice}")
    line = f'namespace "{of}" {{ capabilities = ["{name}"] }}'
    return Finding(f"right {name}", "bad", f"the token's policy lacks it: {line}; {_apply_policy(of)}")


def node_right(status: int, told: Any) -> Finding:
    """Whether nodes may be read. `told` is the list of them, or a text."""
    if status == _FORBIDDEN:
        return Finding(
            "right node read", "bad", f'the token\'s policy lacks it: node {{ policy = "read" }}; {_apply_policy("")}'
        )
    if status != _OK or not isinstance(told, Sequence) or isinstance(told, str):
        return _untried("right node read", status, told)
    return Finding("right node read", "ok", "nodes can be listed")


def version(servers: Sequence[str], nodes: Sequence[Mapping[str, Any]]) -> Finding:
    """`servers` are versions of servers; the oldest of all counts."""
    known = [each for each in [*servers, *(node["Version"] for node in nodes)] if each]
    if not known:
        return Finding("version", "note", "it is not told")
    oldest = min(known, key=numbers)
    shown = ", ".join(sorted(set(known), key=numbers))
    if numbers(oldest) < LEAST:
        return Finding("version", "bad", f"{shown}: Sojourn needs {dotted(LEAST)} or later, on servers and clients")
    if numbers(oldest) < GOOD:
        return Finding(
            "version", "note", f"{shown}: before {dotted(GOOD)} one placement sent twice at once may start twice"
        )
    return Finding("version", "ok", shown)


def readiness(nodes: Sequence[Mapping[str, Any]], ready: Sequence[Mapping[str, Any]]) -> Finding:
    """`ready` are the nodes that take jobs."""
    if ready:
        return Finding("nodes", "ok", f"{len(ready)} of {len(nodes)} take jobs")
    advice = "`nomad node status`; `nomad node eligibility -enable ID`" if nodes else "clients: client { enabled = true }"
    return Finding("nodes", "bad", f"none of {len(nodes)} takes jobs: {advice}")


def region(name: str, cluster: str, pool: str, nodes: Sequence[Mapping[str, Any]] | None) -> Finding:
    """Of a region by its `name`; `pool` empty: it names none. `nodes`: the cluster's; None: they could not be listed."""
    where = f"cluster {cluster}" + (f", node pool {pool}" if pool else "")
    if nodes is None or not pool:
        return Finding(f"region {name}", "ok", where)
    ready = [each for each in nodes if takes_jobs(each) and pool in (each["NodePool"], "all")]
    if ready:
        return Finding(f"region {name}", "ok", f"{where}: {len(ready)} nodes take jobs")
    advice = f'clients: client {{ node_pool = "{pool}" }}; or correct SOJOURN_REGIONS'
    return Finding(f"region {name}", "bad", f"{where}: none of its nodes takes jobs: {advice}")


def takes_jobs(node: Mapping[str, Any]) -> bool:
    """Whether a node, as Nomad lists it, is given allocations."""
    return (node["Status"], node["SchedulingEligibility"]) == ("ready", "eligible")


def drivers(ready: Sequence[Mapping[str, Any]], needed: str = "raw_exec") -> Iterator[Finding]:
    """What the nodes that take jobs can run tasks by. One driver is enough: `needed`, the one that jobs name by default."""
    healthy: Counter[str] = Counter()
    why: dict[str, str] = {}
    for node in ready:
        for name, told in (node["Drivers"] or {}).items():
            healthy[name] += bool(told.get("Detected") and told.get("Healthy"))
            if not told.get("Healthy"):
                why.setdefault(name, told.get("HealthDescription") or "")
    any_at_all = any(healthy[name] for name in _DRIVERS)
    for name, lines in _DRIVERS.items():
        if ready and healthy[name] == len(ready):
            yield Finding(f"driver {name}", "ok", f"healthy on {healthy[name]} of {len(ready)} nodes{_isolation(name)}")
        elif ready:
            state = "bad" if not any_at_all or (name == needed and not healthy[name]) else "note"
            told_why = f" ({why[name]})" if why.get(name) else ""
            yield Finding(
                f"driver {name}", state, f"healthy on {healthy[name]} of {len(ready)} nodes{told_why}; clients: {lines}"
            )


def _isolation(driver: str) -> str:
    """Which there is by a driver, and what changes it. What clients allow they tell nobody."""
    if driver not in ISOLATING:
        return ""
    if driver == "docker":
        return "; a container's own isolation, without the sandbox"
    given, site = (", ".join(f'"{each}"' for each in names) for names in (ALLOWED, SANDBOX_CAPABILITIES))
    return (
        f'; its own isolation, the sandbox with clients: plugin "{driver}" {{ config {{ allow_caps = [{given}] }} }},'
        f' and in SOJOURN_NOMAD_SITES "capabilities": [{site}]'
    )


def control_groups(versions: Sequence[str]) -> Finding:
    """By them memory limits hold and a task's whole tree is killed."""
    counted = Counter(each or "none" for each in versions)
    shown = ", ".join(f"version {name} on {count}" for name, count in sorted(counted.items()))
    if "none" in counted:
        return Finding("cgroups", "bad", f"{shown}: run the clients as root, on a kernel with control groups mounted")
    if "1" in counted:
        return Finding(
            "cgroups", "note", f"{shown}: version 2 is what Nomad goes on with; kernel: systemd.unified_cgroup_hierarchy=1"
        )
    return Finding("cgroups", "ok", shown)


def oversubscription(told: Mapping[str, Any]) -> Finding:
    """`told` is Nomad's answer to a job with a limit above what it asks for."""
    if "oversubscription" in str(told.get("Warnings")):
        advice = "nomad operator scheduler set-config -memory-oversubscription=true"
        return Finding("memory", "note", f"oversubscription is off, what a machine has is its limit: {advice}")
    return Finding("memory", "ok", "oversubscription is on: tasks may use more than they ask for, up to their limit")


def identities(keys: int) -> Finding:
    """`keys` is how many are at /.well-known/jwks.json."""
    if keys:
        return Finding("identities", "ok", f"{keys} keys at /.well-known/jwks.json")
    return Finding(
        "identities",
        "bad",
        "/.well-known/jwks.json cannot be read, by which executors prove what they are:"
        " a proxy before Nomad must let it through without a token",
    )


def clock(date: str, ours: float) -> Finding:
    """`date` is a header of Nomad's, with whole seconds; `ours` seconds since 1970 at about the same moment."""
    theirs = parsedate_to_datetime(date).timestamp()
    # Within the header's second there is no difference.
    off = max(0.0, theirs - ours, ours - theirs - 1)
    if off < _OFF_BY_LITTLE:
        return Finding("clock", "ok", "Nomad's and this machine's agree")
    state = "bad" if off > _OFF_BY_MUCH else "note"
    return Finding(
        "clock", state, f"Nomad's is {off:.0f} s off from this machine's: keep both by NTP (timedatectl set-ntp true)"
    )


def _untried(what: str, status: int, told: Any) -> Finding:
    """Neither let through nor refused: what is in between answered, or a server that has no leader."""
    text = (str(told).strip().splitlines() or [""])[0][:100]
    return Finding(
        what,
        "note",
        f"could not be tried, the answer was {status} {text}: look again; what is before Nomad may not pass it on",
    )


def _apply_policy(namespace: str) -> str:
    where = f" (for the namespace {namespace})" if namespace not in ("", "sojourn") else ""
    return f"nomad acl policy apply sojourn nomad_jobs/platform/sojourn.policy.hcl{where}"


def numbers(text: str) -> tuple[int, ...]:
    """A version to compare: `1.11.3+ent` is (1, 11, 3); empty for what is none."""
    return tuple(int(part) for part in text.split("-")[0].split("+")[0].split(".") if part.isdigit())


def dotted(version: tuple[int, ...]) -> str:
    """A version to show."""
    return ".".join(map(str, version))
