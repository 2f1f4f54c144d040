"""Wires placement on Nomad out of the settings: the client, where jobs run, the services that go with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sojourn.control_plane.config import Config, SettingError
from sojourn.control_plane.isolation import networks_of
from sojourn.control_plane.nomad_access import CHROOT_HOME, NomadAccess, nomad_access
from sojourn.control_plane.wiring import Platform
from sojourn.nomad_jobs.client import Client, key_pairs
from sojourn.nomad_jobs.sites import DRIVERS, BadSite, Site, Sites, read
from sojourn.nomad_jobs.spec import Terms
from sojourn.scheduler.cluster_keys import Keys
from sojourn.scheduler.placement.nomad import Limits, NomadPlacement
from sojourn.scheduler.remover import Remover
from sojourn.scheduler.service import Service

#: Seconds beyond the shim's own graces before Nomad ends an allocation by force.
_MARGIN = 3.0
#: Where nodes that are not this machine keep version trees, unless a site says otherwise.
_VERSIONS_DIR = "/var/lib/sojourn/versions"


class OnNomad:
    """One cluster: its placement, and the services that it needs besides. `SettingError` for settings that are wrong."""

    def __init__(self, config: Config, platform: Platform, may_watch: Callable[[], bool]):
        access = nomad_access(config)
        sites = read_sites(config, access)
        client = Client(access)
        kill = config.drain_grace_seconds + config.term_grace_seconds + _MARGIN
        self.placement = NomadPlacement(
            client,
            platform.executors,
            cluster=config.nomad_cluster,
            namespace=access.namespace,
            site_of=lambda environment: _site_of(platform, sites, environment),
            terms=Terms(config.api_url, kill, config.lease_seconds, denied=tuple(networks_of([access.address]))),
            limits=Limits(config.nomad_places, config.nomad_submissions, kill=kill, lost=config.lease_seconds + kill),
            clock=platform.clock,
            may_watch=may_watch,
            on_change=lambda: _ring(platform),
        )
        self.services: tuple[Service, ...] = (
            Keys(lambda: key_pairs(client.keys()), platform.cluster_keys, config.nomad_cluster),
            Remover(self.placement.remove, self.placement.remove_unused, timedelta(seconds=config.nomad_keep_seconds)),
        )


def read_sites(config: Config, access: NomadAccess) -> Sites:
    """Where each environment's jobs run. A cluster on this machine uses this interpreter and the data directory.

    Tasks of exec and docker see neither: the first have an interpreter in their root, the second in their image, and both
    fetch what they run.
    """
    ways = dict.fromkeys(DRIVERS, ("python3", "")) | {"raw_exec": ("python3", _VERSIONS_DIR)}
    if access.is_loopback:
        here = sys.executable, str(Path(config.data_dir).absolute() / "versions")
        ways |= {"raw_exec": here, "exec": (f"{CHROOT_HOME}/bin/python", "")}
    try:
        return read(config.nomad_sites, ways)
    except BadSite as error:
        raise SettingError(f"SOJOURN_NOMAD_SITES cannot be used: {error}") from None


def _site_of(platform: Platform, sites: Sites, environment_id: str) -> Site:
    environment = platform.access.environment(environment_id, platform.clock())
    return sites.of(environment_id, *([environment.slug] if environment else []))


def _ring(platform: Platform) -> None:
    platform.index.ring("undertaker")
    platform.index.ring("dispatcher")
