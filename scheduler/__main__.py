"""The scheduler's process: `python -m sojourn.scheduler`. Wires the placement, runs the services until SIGTERM."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from sojourn.control_plane.config import Config, SettingError, load
from sojourn.control_plane.domain import addresses, keeping, resting
from sojourn.control_plane.stopping import Stopping
from sojourn.control_plane.store.database import AdvisoryLock, StoreUnavailable
from sojourn.control_plane.wiring import Platform, connect, shim_settings, waiting_terms_of
from sojourn.scheduler.bulker import Bulker
from sojourn.scheduler.canceller import Canceller
from sojourn.scheduler.closer import Closer
from sojourn.scheduler.courier import Courier
from sojourn.scheduler.dispatcher import Dispatcher
from sojourn.scheduler.expirer import Expirer
from sojourn.scheduler.keeper import Keeper
from sojourn.scheduler.leader import Leader
from sojourn.scheduler.opener import Opener
from sojourn.scheduler.placement.base import Placement
from sojourn.scheduler.placement.local import LocalPlacement
from sojourn.scheduler.posting import Poster
from sojourn.scheduler.pruner import Pruner
from sojourn.scheduler.reaper import Reaper
from sojourn.scheduler.service import Loop, Service
from sojourn.scheduler.shredder import Shredder
from sojourn.scheduler.stager import Stager
from sojourn.scheduler.sweeper import Sweeper
from sojourn.scheduler.teller import Teller
from sojourn.scheduler.ticker import Ticker
from sojourn.scheduler.undertaker import Undertaker
from sojourn.scheduler.waker import Waker

LEADER_LOCK = 7_340_010
#: Seconds that a leader may be silent at least: it asks every second, and may be late.
_SHORTEST_SILENCE = 3.0


def main() -> int:
    """Runs until it is told to stop; 2 for settings that cannot be used."""
    try:
        config = load()
    except SettingError as error:
        print(f"sojourn scheduler: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    platform = connect(config, application="sojourn-scheduler")
    silence = max(config.lease_seconds, _SHORTEST_SILENCE)
    leader = Leader(AdvisoryLock(config.database_url, LEADER_LOCK, silence))
    try:
        placement, of_placement = place(config, platform, leader)
    except SettingError as error:
        print(f"sojourn scheduler: {error}", file=sys.stderr)
        return 2
    every = (*services(platform, placement), *of_placement)
    loops = [Loop(service, platform.wakeups, platform.clock, leader.leads) for service in every]
    stopping = Stopping()
    stopping.ask_on(signal.SIGTERM, signal.SIGINT)
    for loop in loops:
        loop.start()
    stopping.wait()
    for loop in loops:
        loop.stop()
    # The executors' own grace comes first; only one that does not keep to it is ended by force.
    if ends_executors(config, leader):
        placement.close(grace=config.drain_grace_seconds + config.term_grace_seconds + 3)
    else:
        placement.leave()
    for loop in loops:
        loop.join(2)
    leader.resign()
    platform.close()
    return 0


def ends_executors(config: Config, leader: Leader) -> bool:
    """Whether executors end with this scheduler: its own on this machine do, a cluster's only with the one that leads."""
    if config.placement == "local":
        return True
    try:
        return config.executors_on_stop == "end" and leader.leads()
    except StoreUnavailable:
        return False


def place(config: Config, platform: Platform, leader: Leader) -> tuple[Placement, Sequence[Service]]:
    """Where executors live, and the services that this needs. `SettingError` for settings that cannot be used."""
    if config.placement == "nomad":
        from sojourn.scheduler.on_nomad import OnNomad

        on_nomad = OnNomad(config, platform, leader.leads)
        return on_nomad.placement, on_nomad.services
    return local_placement(config, platform), ()


def local_placement(config: Config, platform: Platform) -> LocalPlacement:
    """Executors as processes of this machine. When one ends, the undertaker is woken."""
    data = Path(config.data_dir)
    patience = resting.patience(waiting_terms_of(config))
    return LocalPlacement(
        registry_dir=data / "executors",
        places=config.places,
        shim={
            "api_url": config.api_url,
            "versions_dir": str(data / "versions"),
            **shim_settings(config),
        },
        on_ended=lambda: platform.index.ring("undertaker"),
        resting=partial(platform.runs.resting, patience, resting.most(config.places)),
    )


def services(platform: Platform, placement: Placement) -> Sequence[Service]:
    """Every periodic service of this process."""
    config = platform.config
    lease = timedelta(seconds=config.lease_seconds)
    reaper = Reaper(
        platform.runs,
        platform.outcomes,
        stop=lambda executor: placement.stop(executor, grace=0),
        lease=lease,
        seconds=config.sweep_seconds,
        nodes=platform.executors.node_names,
    )
    most = config.executors_per_environment
    resting_in = partial(platform.runs.resting_by_environment, resting.patience(waiting_terms_of(config)))
    return (
        Dispatcher(platform.placing, placement, platform.turns, platform.clock, most, resting_in),
        Keeper(platform.placing, placement, keeping.read(config.keep_alive), most, resting_in),
        Stager(platform.expiring),
        Ticker(platform.ticking),
        Opener(platform.opening),
        Expirer(platform.expiring),
        Waker(platform.waiting, config.sweep_seconds),
        Canceller(platform.cancelling, config.sweep_seconds),
        Closer(platform.batches, config.sweep_seconds),
        Bulker(platform.bulk_actions, config.sweep_seconds),
        Teller(platform.endings),
        Courier(
            platform.delivering,
            Poster(addresses.read(config.webhook_networks)),
            partial(platform.index.ring, "courier"),
        ),
        reaper,
        Undertaker(placement, reaper, platform.placing, platform.index),
        Shredder(platform.shredding),
        Sweeper(platform.recovery, config.sweep_seconds),
        Pruner(
            platform.access,
            platform.versions,
            platform.runs,
            platform.logs,
            platform.executors,
            platform.waits,
            platform.stored_batches,
            platform.spent_tokens,
            platform.stored_bulk_actions,
            platform.stored_webhooks,
            log_days=config.log_retention_days,
            run_days=config.run_retention_days,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
