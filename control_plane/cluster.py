"""What a Nomad cluster has and lacks for Sojourn, found by requests that change nothing, as its token may make them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import nomad
import requests

from sojourn.control_plane import cluster_facts as facts
from sojourn.control_plane.finding import Finding
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, nomad_client, reason, signing_keys

#: How many nodes are looked at one by one.
_NODES = 50
#: No job of a user has this name: nothing that is asked about it can act on one.
_NO_JOB = "sojourn-doctor-asks-about-a-job-that-is-not-there"
_HIGHEST_INDEX = 2**62


def examine(access: NomadAccess, driver: str = "raw_exec", further: str = "") -> Iterator[Finding]:
    """Everything that is looked at; nothing more once the cluster cannot be reached or gives the token no right at all.

    `driver` is what jobs name unless their site says otherwise. `further`: the name of one of SOJOURN_NOMAD_CLUSTERS;
    empty: it is the one of NOMAD_ADDR.
    """
    client = nomad_client(access, timeout=10)
    try:
        yield _leader(client, access)
        yield from _clock(client)
        yield _identities(client)
        setting = f"the token of {further}" if further else "NOMAD_TOKEN"
        known = facts.token(*_ask(client.acl, "token", "self"), setting=setting)
        yield known
        if known.state != "bad":
            yield from _rights(client, access.namespace)
            yield from _nodes(client, driver)
            yield from _jobs(client, access.namespace)
    except (BaseNomadException, OSError, ValueError) as error:
        settings = f"{further} in SOJOURN_NOMAD_CLUSTERS" if further else "NOMAD_ADDR and the TLS settings beside it"
        advice = f"start it, or correct {settings}"
        yield Finding("Nomad", "bad", f"{access.shown} cannot be reached ({reason(error)}): {advice}")


def nodes_of(access: NomadAccess) -> Sequence[Mapping[str, Any]] | None:
    """The nodes of a cluster, as it lists them; None where it does not, of which `examine` tells."""
    try:
        status, nodes = _ask(nomad_client(access, timeout=10).nodes)
    except (BaseNomadException, OSError, ValueError):
        return None
    return nodes if status == requests.codes.ok else None


def _leader(client: nomad.Nomad, access: NomadAccess) -> Finding:
    if client.status.leader.get_leader():
        return Finding("Nomad", "ok", f"{access.shown}, namespace {access.namespace}")
    advice = "`nomad server members`, `nomad operator raft list-peers`"
    return Finding("Nomad", "bad", f"{access.shown} has no leader: {advice}")


def _clock(client: nomad.Nomad) -> Iterator[Finding]:
    """By the header `Date`, which has whole seconds."""
    before = time.time()
    headers = client.status.leader.request(method="get").headers
    if "Date" in headers:
        yield facts.clock(headers["Date"], (before + time.time()) / 2)


def _identities(client: nomad.Nomad) -> Finding:
    try:
        return facts.identities(len(signing_keys(client)))
    except BaseNomadException:
        return facts.identities(0)


def _rights(client: nomad.Nomad, namespace: str) -> Iterator[Finding]:
    """Each by a request that needs exactly it."""
    status, told = _ask(client.namespace, namespace)
    yield facts.namespace(status, told, namespace)
    index = {"EnforceIndex": True, "JobModifyIndex": _HIGHEST_INDEX}
    register = {"Job": _job(namespace, _NO_JOB), **index}
    probes: Mapping[str, Callable[[], tuple[int, Any]]] = {
        "list-jobs": lambda: _ask(client.jobs, params={"per_page": 1}),
        "read-job": lambda: _ask(client.job, _NO_JOB),
        "submit-job": lambda: _ask(client.jobs, method="post", json=register),
        "dispatch-job": lambda: _ask(client.job, _NO_JOB, "dispatch", method="post", json={"Meta": {}}),
    }
    for capability, probe in probes.items():
        status, told = probe()
        yield facts.capability(capability, namespace, status, told)


def _nodes(client: nomad.Nomad, driver: str) -> Iterator[Finding]:
    status, nodes = _ask(client.nodes)
    right = facts.node_right(status, nodes)
    yield right
    if right.state != "ok":
        return
    _, told = _ask(client.agent, "members")
    members = (told.get("Members") or ()) if isinstance(told, Mapping) else ()
    yield facts.version([each["Tags"].get("build", "") for each in members], nodes)
    ready = [each for each in nodes if facts.takes_jobs(each)]
    yield facts.readiness(nodes, ready)
    yield from facts.drivers(ready, driver)
    details = [_ask(client.node, each["ID"]) for each in ready[:_NODES]]
    there = [told for status, told in details if status == requests.codes.ok and isinstance(told, Mapping)]
    if there:  # a node may have gone since it was listed
        yield facts.control_groups([(each["Attributes"] or {}).get("os.cgroups.version", "") for each in there])


def _jobs(client: nomad.Nomad, namespace: str) -> Iterator[Finding]:
    """What Nomad would say to a job like ours."""
    status, told = _ask(client.validate, "job", method="post", json={"Job": _job(namespace, _NO_JOB)})
    if status == requests.codes.ok and isinstance(told, Mapping):
        yield facts.oversubscription(told)


def _ask(endpoint: Any, *path: str, method: str = "get", **options: Any) -> tuple[int, Any]:
    """The status and the document or the text of an answer; whatever the status, it is an answer."""
    try:
        response = endpoint.request(*path, method=method, **options)
    except BaseNomadException as error:
        response = error.nomad_resp
        if not isinstance(response, requests.Response):
            raise
    try:
        return response.status_code, response.json()
    except ValueError:
        return response.status_code, response.text.strip()


def _job(namespace: str, name: str) -> Mapping[str, Any]:
    resources = {"CPU": 10, "MemoryMB": 16, "MemoryMaxMB": 32}
    task = {"Name": "task", "Driver": "raw_exec", "Config": {"command": "/bin/true"}, "Resources": resources}
    groups: Sequence[Mapping[str, Any]] = [{"Name": "group", "Tasks": [task]}]
    return {"ID": name, "Name": name, "Namespace": namespace, "Type": "batch", "Datacenters": ["*"], "TaskGroups": groups}
