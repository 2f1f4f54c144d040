"""Wires placement on Nomad out of the settings: clients, where jobs run, the services that go with them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from sojourn.control_plane.cluster_facts import CHROOT_HOME
from sojourn.control_plane.config import Config, SettingError
from sojourn.control_plane.domain import resting
from sojourn.control_plane.domain.regions import Regions
from sojourn.control_plane.isolation import networks_of
from sojourn.control_plane.nomad_access import Cluster, NomadAccess, nomad_clusters
from sojourn.control_plane.wiring import Platform, waiting_terms_of
from sojourn.nomad_jobs.client import Client, key_pairs
from sojourn.nomad_jobs.sites import DRIVERS, BadSite, Site, Sites, read
from sojourn.nomad_jobs.spec import Terms
from sojourn.scheduler.cluster_keys import Keys
from sojourn.scheduler.placement.clusters import Clusters
from sojourn.scheduler.placement.limits import Limits
from sojourn.scheduler.placement.nomad import NomadPlacement
from sojourn.scheduler.remover import Remover
from sojourn.scheduler.service import Service

log = logging.getLogger(__name__)

#: Seconds beyond the shim's own graces before Nomad ends an allocation by force.
_MARGIN = 3.0
#: Where nodes that are not this machine keep version trees, unless a site says otherwise.
_VERSIONS_DIR = "/var/lib/sojourn/versions"


class OnNomad:
    """Every cluster: placement, and the services that it needs besides. `SettingError` for settings that are wrong."""

    def __init__(self, config: Config, platform: Platform, may_watch: Callable[[], bool]):
        clusters = nomad_clusters(config)
        cluster_of = clusters_of_regions(config, platform.regions, clusters)
        sites = {name: read_sites(config, platform.regions, cluster.access) for name, cluster in clusters.items()}
        clients = {name: Client(cluster.access) for name, cluster in clusters.items()}
        placements = {
            name: _placement(config, platform, cluster, clients[name], sites[name], may_watch)
            for name, cluster in clusters.items()
        }
        keep = timedelta(seconds=config.nomad_keep_seconds)
        self.placement = Clusters(placements, cluster_of)
        warn_of_other_names(platform, list(clusters))
        self.services: tuple[Service, ...] = (
            Keys({name: _keys_of(client) for name, client in clients.items()}, platform.cluster_keys),
            *(Remover(each.removal.remove, each.removal.remove_unused, keep, name) for name, each in placements.items()),
        )


def clusters_of_regions(config: Config, regions: Regions, clusters: dict[str, Cluster]) -> dict[str, str]:
    """The cluster of each region, by names. `SettingError` for one that is not there."""
    found = {name: region.cluster or config.nomad_cluster for name, region in regions.by_name.items()}
    for name, cluster in found.items():
        if cluster not in clusters:
            there = ", ".join(clusters)
            raise SettingError(f"SOJOURN_REGIONS cannot be used: {name}.cluster: it takes one of {there}")
    return found


def read_sites(config: Config, regions: Regions, access: NomadAccess) -> Sites:
    """Where each environment's jobs run. A cluster on this machine uses this interpreter and the data directory.

    Tasks of exec and docker see neither: the first have an interpreter in their root, the second in their image, and both
    fetch what they run.
    """
    ways = dict.fromkeys(DRIVERS, ("python3", "")) | {"raw_exec": ("python3", _VERSIONS_DIR)}
    if access.is_loopback:
        here = sys.executable, str(Path(config.data_dir).absolute() / "versions")
        ways |= {"raw_exec": here, "exec": (f"{CHROOT_HOME}/bin/python", "")}
    try:
        return read(config.nomad_sites, regions, ways)
    except BadSite as error:
        raise SettingError(str(error)) from None


def warn_of_other_names(platform: Platform, clusters: Sequence[str]) -> None:
    """Once: executors on a cluster that no setting names any more are not watched, and end by their runs' leases alone."""
    for name, count in platform.executors.living_elsewhere(clusters).items():
        log.warning(
            "%d executors live on a cluster named %s, which nobody watches: name it by SOJOURN_NOMAD_CLUSTER until they"
            " have ended, or stop their jobs there",
            count,
            name,
        )


def _placement(
    config: Config, platform: Platform, cluster: Cluster, client: Client, sites: Sites, may_watch: Callable[[], bool]
) -> NomadPlacement:
    kill = config.drain_grace_seconds + config.term_grace_seconds + _MARGIN
    return NomadPlacement(
        client,
        platform.executors,
        cluster=cluster.name,
        namespace=cluster.access.namespace,
        site_of=lambda *kind: _site_of(platform, sites, *kind),
        terms=Terms(config.api_url, kill, config.lease_seconds, denied=tuple(networks_of([cluster.access.address]))),
        limits=Limits(cluster.places, cluster.submissions, kill=kill, lost=config.lease_seconds + kill),
        clock=platform.clock,
        may_watch=may_watch,
        on_change=lambda: _ring(platform),
        resting=partial(
            platform.runs.resting, resting.patience(waiting_terms_of(config)), resting.most(cluster.places), cluster.name
        ),
    )


def _keys_of(client: Client) -> Callable[[], list[tuple[str, str]]]:
    return lambda: key_pairs(client.keys())


def _site_of(platform: Platform, sites: Sites, environment_id: str, version_id: str, region: str) -> Site:
    environment = platform.access.environment(environment_id, platform.clock())
    site = sites.of(region, environment_id, *([environment.slug] if environment else []))
    version = platform.versions.find(version_id)
    return replace(site, image=version.image) if version is not None and version.image else site


def _ring(platform: Platform) -> None:
    platform.index.ring("undertaker")
    platform.index.ring("dispatcher")
