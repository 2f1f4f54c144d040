"""From (environment, version, machine, region) to the parameterized batch job that its executors are dispatched from. Pure.

What Nomad holds of a run are ids: no payload, no variable, no secret is in any document of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from sojourn.control_plane.cluster_facts import CHROOT_HOME
from sojourn.control_plane.domain.regions import DEFAULT
from sojourn.nomad_jobs.sites import Constraint, Site
from sojourn.sdk.protocol import DEFAULT_MACHINE, MACHINES

#: Names inside the job. The identity's name is also that of the file that the shim reads.
GROUP, TASK, IDENTITY, AUDIENCE = "executor", "shim", "sojourn", "sojourn"
#: What a dispatch may say, and nothing else.
REQUIRED_META, OPTIONAL_META = ("executor",), ("run", "snapshot")
#: The digest of the document as it was registered, so that a change is noticed.
SPEC_META = "sojourn_spec"
_SECOND = 1_000_000_000
_IDENTITY_SECONDS, _CUT_OFF_SECONDS = 15 * 60, 5 * 60
#: Megabytes that the shim needs beside its run; and the room to see a run outgrow its machine, where Nomad grants it.
_SHIM_MB, _HEADROOM = 64, 1.25
_LOG_FILES, _LOG_MB = 2, 4
_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_CHILD = re.compile(r"(?P<parent>.+)/dispatch-(?P<executor>[A-Za-z0-9_]+)-[0-9]+-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every job. `kill_timeout`: seconds from SIGTERM to SIGKILL; `lease`: of an executor, in seconds.

    `denied`: networks that tasks do not reach, Nomad's own.
    """

    api_url: str
    kill_timeout: float
    lease: float
    denied: tuple[str, ...] = ()
    prefix: str = "sojourn"


@dataclass(frozen=True, slots=True)
class Unfit:
    """The nodes that are known not to be of a type, by their ids: executors that are to thaw a frozen run go to no such."""

    type: str
    ids: tuple[str, ...]


def job_id(
    environment: str,
    version: str,
    machine: str,
    region: str = DEFAULT,
    prefix: str = "sojourn",
    unfit: Unfit | None = None,
) -> str:
    """The parameterized job's id; `default` is not in it. `ValueError` for names that cannot be in one."""
    names = (
        prefix,
        environment,
        version,
        machine,
        *(() if region == DEFAULT else (region,)),
        *((unfit.type,) if unfit else ()),
    )
    for name in names:
        if not _ID.fullmatch(name):
            raise ValueError(f"{name[:80]!r} cannot be part of a job's id")
    return "-".join(names)


def child_of(job: str) -> tuple[str, str] | None:
    """The parameterized job and the executor that a dispatched child's id names; None for another job's id."""
    found = _CHILD.fullmatch(job)
    return (found["parent"], found["executor"]) if found else None


def job(
    environment: str,
    version: str,
    machine: str,
    site: Site,
    terms: Terms,
    region: str = DEFAULT,
    unfit: Unfit | None = None,
) -> dict[str, Any]:
    """The job's document, as Nomad's API takes it. The same input makes the same document."""
    constraints = (*site.constraints, *(_none_of(unfit) if unfit else ()))
    document: dict[str, Any] = {
        "ID": job_id(environment, version, machine, region, terms.prefix, unfit),
        "Type": "batch",
        "Datacenters": list(site.datacenters),
        "NodePool": site.node_pool,
        "Priority": site.priority,
        "Constraints": [_constraint(each) for each in constraints],
        "ParameterizedJob": {
            "Payload": "forbidden",
            "MetaRequired": list(REQUIRED_META),
            "MetaOptional": list(OPTIONAL_META),
        },
        "TaskGroups": [_group(machine, site, terms)],
    }
    if site.namespace:
        document["Namespace"] = site.namespace
    names = {"environment": environment, "version": version, "machine": machine}
    document["Meta"] = {**names, **({} if region == DEFAULT else {"region": region}), SPEC_META: digest(document)}
    return document


def digest(document: dict[str, Any]) -> str:
    """What changes when the document does."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _group(machine: str, site: Site, terms: Terms) -> dict[str, Any]:
    return {
        "Name": GROUP,
        "Count": 1,
        # Sojourn tries a run again, elsewhere and by its own rules: Nomad never does.
        "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
        "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
        # A node that is cut off from Nomad ends what it has, in time: shims stop by themselves when it is we who are gone.
        # It must not come before a client's next heartbeat, which large clusters space widely: that would end all it has.
        "Disconnect": {"Replace": False, "StopOnClientAfter": round(max(terms.lease, _CUT_OFF_SECONDS) * _SECOND)},
        "EphemeralDisk": {"SizeMB": site.disk_mb},
        "Tasks": [_task(machine, site, terms)],
    }


def _task(machine: str, site: Site, terms: Terms) -> dict[str, Any]:
    task: dict[str, Any] = {
        "Name": TASK,
        "Driver": site.driver,
        "Config": _config(site),
        "Env": {
            "SOJOURN_API_URL": terms.api_url,
            "SOJOURN_DRIVER": site.driver,
            **({"SOJOURN_DENIED": ",".join(terms.denied)} if terms.denied else {}),
            **_loaded_from(site),
            "SOJOURN_VERSIONS_DIR": site.versions_dir or "${NOMAD_TASK_DIR}/versions",
        },
        "Identities": [
            {
                "Name": IDENTITY,
                "Audience": [AUDIENCE],
                "File": True,
                "Env": False,
                "TTL": _IDENTITY_SECONDS * _SECOND,
                "ChangeMode": "noop",
            }
        ],
        "Resources": _resources(machine, site),
        "LogConfig": {"MaxFiles": _LOG_FILES, "MaxFileSizeMB": _LOG_MB},
        "KillSignal": "SIGTERM",
        "KillTimeout": round(terms.kill_timeout * _SECOND),
    }
    # Nomad's clients refuse root for exec. For raw_exec it makes the identity's file root's alone.
    user = site.user or ("root" if site.driver == "raw_exec" else "")
    if user:
        task["User"] = user
    return task


def _loaded_from(site: Site) -> dict[str, str]:
    """An interpreter that was linked to elsewhere finds its own library, not another version that the system has."""
    is_moved = site.driver in ("exec", "docker") and site.python.startswith(f"{CHROOT_HOME}/")
    return {"LD_LIBRARY_PATH": f"{CHROOT_HOME}/base/lib"} if is_moved else {}


def _config(site: Site) -> dict[str, Any]:
    config: dict[str, Any] = {"command": site.python or "python3", "args": ["-P", "-m", "sojourn.executor_shim", "--nomad"]}
    if site.capabilities:
        config["cap_add"] = list(site.capabilities)
    if site.driver == "docker":
        config["image"] = site.image
        if site.network_mode:
            config["network_mode"] = site.network_mode
    return config


def _resources(machine: str, site: Site) -> dict[str, Any]:
    preset = MACHINES.get(machine, MACHINES[DEFAULT_MACHINE])
    megabytes = round(preset.memory * 1024) + _SHIM_MB
    return {
        "CPU": max(round(preset.cpu * site.mhz_per_cpu), 1),
        "MemoryMB": megabytes,
        "MemoryMaxMB": round(megabytes * _HEADROOM),
    }


def _none_of(unfit: Unfit) -> list[Constraint]:
    return [Constraint("${node.unique.id}", each, "!=") for each in sorted(unfit.ids)]


def _constraint(constraint: Constraint) -> dict[str, str]:
    return {"LTarget": constraint.attribute, "RTarget": constraint.value, "Operand": constraint.operator}
