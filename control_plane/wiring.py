"""Builds everything of the control plane out of a Config; the only place that does. Nomad is the scheduler's to wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis

from sojourn.control_plane import faults
from sojourn.control_plane.config import Config, SettingError
from sojourn.control_plane.domain import addresses, allowance, buckets, regions, waiting_terms
from sojourn.control_plane.domain.regions import BadRegions, Regions
from sojourn.control_plane.domain.waiting_terms import WaitingTerms
from sojourn.control_plane.engine.annotating import Annotating
from sojourn.control_plane.engine.assigning import Assigning, Terms
from sojourn.control_plane.engine.attempts import Attempts, Timing
from sojourn.control_plane.engine.backfilling import Backfilling
from sojourn.control_plane.engine.batch_items import BatchItems
from sojourn.control_plane.engine.batch_rate import BatchRate
from sojourn.control_plane.engine.batches import Batches
from sojourn.control_plane.engine.bulk_actions import BulkActions
from sojourn.control_plane.engine.cancelling import Cancelling
from sojourn.control_plane.engine.checks import Checks
from sojourn.control_plane.engine.claiming import Claiming
from sojourn.control_plane.engine.credentials import Credentials
from sojourn.control_plane.engine.debouncing import Debouncing
from sojourn.control_plane.engine.delivering import Delivering
from sojourn.control_plane.engine.deployments import ArchiveStore, Deployments
from sojourn.control_plane.engine.endings import Endings
from sojourn.control_plane.engine.expiring import Expiring
from sojourn.control_plane.engine.explaining import Explaining
from sojourn.control_plane.engine.freezing import Freezing
from sojourn.control_plane.engine.grants import Grants
from sojourn.control_plane.engine.identities import Identities
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.engine.keys import Keys
from sojourn.control_plane.engine.limits import Limiting
from sojourn.control_plane.engine.opening import Opening
from sojourn.control_plane.engine.outcomes import Outcomes
from sojourn.control_plane.engine.outputs import Outputs
from sojourn.control_plane.engine.packets import Packets
from sojourn.control_plane.engine.placing import Placing
from sojourn.control_plane.engine.public_tokens import PublicTokens
from sojourn.control_plane.engine.queues import Queues
from sojourn.control_plane.engine.recovery import Recovery
from sojourn.control_plane.engine.replaying import Replaying
from sojourn.control_plane.engine.results import Results
from sojourn.control_plane.engine.room import Room
from sojourn.control_plane.engine.schedules import Schedules
from sojourn.control_plane.engine.shares import Shares
from sojourn.control_plane.engine.shredding import Shredding
from sojourn.control_plane.engine.steering import Steering
from sojourn.control_plane.engine.ticking import Ticking
from sojourn.control_plane.engine.tokens import Tokens
from sojourn.control_plane.engine.triggering import Triggering
from sojourn.control_plane.engine.turns import Turns
from sojourn.control_plane.engine.variables import Variables
from sojourn.control_plane.engine.waiting import Waiting
from sojourn.control_plane.engine.webhooks import Webhooks
from sojourn.control_plane.isolation import sandbox
from sojourn.control_plane.queue.call_buckets import CallBuckets
from sojourn.control_plane.queue.fair_queue import FairQueue
from sojourn.control_plane.queue.loads import Loads
from sojourn.control_plane.queue.mailbox import Mailbox
from sojourn.control_plane.queue.notices import Notices
from sojourn.control_plane.queue.wakeups import Wakeups
from sojourn.control_plane.store.access import Access
from sojourn.control_plane.store.annotations import Annotations
from sojourn.control_plane.store.batches import Batches as StoredBatches
from sojourn.control_plane.store.bulk_actions import BulkActions as StoredBulkActions
from sojourn.control_plane.store.checkpoints import Checkpoints
from sojourn.control_plane.store.clock import DatabaseClock
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.store.debounces import Debounces
from sojourn.control_plane.store.endings import Endings as StoredEndings
from sojourn.control_plane.store.executors import ClusterKeys, Executors
from sojourn.control_plane.store.object_directory import DirectoryObjects
from sojourn.control_plane.store.object_s3 import S3Objects
from sojourn.control_plane.store.objects import Objects
from sojourn.control_plane.store.packets import Packets as StoredPackets
from sojourn.control_plane.store.queues import Queues as StoredQueues
from sojourn.control_plane.store.run_lists import RunLists
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.store.schedules import Schedules as StoredSchedules
from sojourn.control_plane.store.seal import Seal
from sojourn.control_plane.store.shares import Shares as StoredShares
from sojourn.control_plane.store.spent_tokens import SpentTokens
from sojourn.control_plane.store.variables import Variables as StoredVariables
from sojourn.control_plane.store.versions import Versions
from sojourn.control_plane.store.waits import Waits
from sojourn.control_plane.store.webhooks import Webhooks as StoredWebhooks
from sojourn.control_plane.telemetry.logs import Logs, PostgresLogs
from sojourn.sdk import archive


@dataclass(frozen=True)
class Platform:
    """The connected parts, by their nouns."""

    config: Config
    regions: Regions
    database: Database
    redis: redis.Redis
    clock: DatabaseClock
    access: Access
    runs: Runs
    run_lists: RunLists
    versions: Versions
    executors: Executors
    cluster_keys: ClusterKeys
    keys: Keys
    public_tokens: PublicTokens
    spent_tokens: SpentTokens
    call_buckets: CallBuckets
    checkpoints: Checkpoints
    objects: Objects
    logs: Logs
    queue: FairQueue
    notices: Notices
    mailbox: Mailbox
    wakeups: Wakeups
    index: Index
    credentials: Credentials
    identities: Identities
    triggering: Triggering
    cancelling: Cancelling
    replaying: Replaying
    results: Results
    explaining: Explaining
    steering: Steering
    annotating: Annotating
    queues: Queues
    opening: Opening
    attempts: Attempts
    waiting: Waiting
    waits: Waits
    tokens: Tokens
    schedules: Schedules
    stored_schedules: StoredSchedules
    ticking: Ticking
    backfilling: Backfilling
    batches: Batches
    stored_batches: StoredBatches
    bulk_actions: BulkActions
    stored_bulk_actions: StoredBulkActions
    variables: Variables
    freezing: Freezing
    shredding: Shredding
    packets: Packets
    grants: Grants
    debouncing: Debouncing
    outcomes: Outcomes
    placing: Placing
    expiring: Expiring
    endings: Endings
    webhooks: Webhooks
    stored_webhooks: StoredWebhooks
    delivering: Delivering
    deployments: Deployments
    limiting: Limiting
    shares: Shares
    recovery: Recovery
    turns: Turns
    checks: Checks

    def close(self) -> None:
        """Closes every connection."""
        self.notices.close()
        self.mailbox.close()
        self.call_buckets.close()
        self.redis.close()
        self.database.close()


def connect(config: Config, application: str = "sojourn") -> Platform:
    """Everything, over lazily opened connections. `ValueError` for a URL or a master key that cannot be used."""
    faults.switch_on(config.faults)
    lease = timedelta(seconds=config.lease_seconds)
    database = Database(config.database_url, connections=config.database_connections, application=application)
    connection = redis.Redis.from_url(
        config.redis_url, socket_timeout=10, socket_connect_timeout=2, health_check_interval=0
    )
    # Counting calls must hold nobody up: who does not answer at once is left out.
    call_buckets = CallBuckets(redis.Redis.from_url(config.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5))
    seal = Seal(config.master_key)
    clock = DatabaseClock(database)
    stored_packets = StoredPackets(database)
    objects = object_store(config, stored_packets.are_stored)
    access, runs, versions = Access(database, seal), Runs(database), Versions(database)
    executors, cluster_keys = Executors(database), ClusterKeys(database)
    spent_tokens = SpentTokens(database)
    logs = PostgresLogs(database, config.log_lines_limit)
    notices = Notices(connection)
    queue = FairQueue(connection, notices, lease_ms=int(config.dispatch_seconds * 1000))
    mailbox, wakeups = Mailbox(connection, notices), Wakeups(connection)
    index = Index(queue, mailbox, wakeups)
    credentials = Credentials(seal.derive("executors"))
    queues, loads = StoredQueues(database), Loads(connection)
    grants = Grants(seal.derive("grants"))
    limiting, turns = Limiting(queues, index), Turns(wakeups)
    waits = Waits(database)
    packets = Packets(objects, grants, stored_packets, config.api_url)
    outputs = Outputs(packets, patience=min(_OUTPUTS_PATIENCE, config.lease_seconds / 10))
    waiting = Waiting(runs, waits, index, credentials, outputs)
    index.on_awaited = waiting.runs_are_over
    outcomes = Outcomes(
        runs,
        versions,
        index,
        packets,
        immediate_below=timedelta(seconds=config.retry_immediate_max_seconds),
        lease=lease,
    )
    claiming = Claiming(runs, versions, index, lease=lease, placement=timedelta(seconds=config.placement_seconds))
    known_regions = regions_of(config)
    at_once = max(config.database_connections // 4, 1)
    debouncing = Debouncing(database, runs, Debounces(database), at_once)
    stored_batches, stored_bulk_actions = StoredBatches(database), StoredBulkActions(database)
    room = Room(index, stored_batches, config.queue_size_limit)
    triggering = Triggering(runs, queues, index, debouncing, packets, room=room, regions=known_regions)
    cancelling = Cancelling(runs, index, grace=timedelta(seconds=config.cancel_grace_seconds) + lease)
    stored_schedules = StoredSchedules(database)
    schedules = Schedules(database, stored_schedules, versions, index, seal.derive("schedules"))
    run_lists, replaying = RunLists(database), Replaying(runs, triggering)
    stored_webhooks = StoredWebhooks(database)
    how_runs_wait = waiting_terms_of(config)
    terms = Terms(config.heartbeat_seconds, config.lease_seconds, config.api_url, how_runs_wait)
    stored_variables = StoredVariables(database, seal)
    assigning = Assigning(runs, access, versions, credentials, packets, terms, stored_variables)
    checkpoints = Checkpoints(database, runs, seal)
    annotating = Annotating(runs, Annotations(database))
    freezing = Freezing(
        runs=runs,
        access=access,
        versions=versions,
        checkpoints=checkpoints,
        objects=objects,
        credentials=credentials,
        assigning=assigning,
        index=index,
        terms=how_runs_wait,
        lease=lease,
        seconds=config.checkpoint_seconds,
        waiting=waiting,
    )
    return Platform(
        config=config,
        regions=known_regions,
        database=database,
        redis=connection,
        clock=clock,
        access=access,
        runs=runs,
        run_lists=run_lists,
        versions=versions,
        executors=executors,
        cluster_keys=cluster_keys,
        keys=Keys(access.keys),
        public_tokens=PublicTokens(access, spent_tokens),
        spent_tokens=spent_tokens,
        call_buckets=call_buckets,
        logs=logs,
        queue=queue,
        notices=notices,
        mailbox=mailbox,
        wakeups=wakeups,
        index=index,
        credentials=credentials,
        identities=Identities(executors, cluster_keys, versions, credentials, index, shim_settings(config)),
        triggering=triggering,
        cancelling=cancelling,
        replaying=replaying,
        results=Results(runs, mailbox),
        explaining=Explaining(runs, waits, limiting, loads, index),
        steering=Steering(runs, index),
        annotating=annotating,
        queues=Queues(queues, loads, limiting, index),
        opening=Opening(queues, index),
        attempts=Attempts(
            runs=runs,
            index=index,
            claiming=claiming,
            outcomes=outcomes,
            assigning=assigning,
            freezing=freezing,
            credentials=credentials,
            turns=turns,
            logs=logs,
            executors=executors,
            waiting=waiting,
            annotating=annotating,
            clock=clock,
            timing=Timing(lease, config.quantum_runs, timedelta(seconds=config.quantum_seconds)),
        ),
        waiting=waiting,
        waits=waits,
        batches=Batches(
            stored_batches,
            BatchItems(runs, triggering, debouncing),
            runs,
            triggering,
            BatchRate(call_buckets, allowance.read(config.batch_rate)),
            patience=timedelta(seconds=config.batch_patience_seconds),
            at_once=at_once,
        ),
        stored_batches=stored_batches,
        bulk_actions=BulkActions(stored_bulk_actions, run_lists, access, cancelling, replaying, index, known_regions),
        stored_bulk_actions=stored_bulk_actions,
        variables=Variables(database, stored_variables),
        tokens=Tokens(waits, waiting, access, index, config.api_url),
        schedules=schedules,
        stored_schedules=stored_schedules,
        ticking=Ticking(database, stored_schedules, runs, access, triggering, cancelling),
        backfilling=Backfilling(database, schedules, stored_schedules, runs, triggering),
        checkpoints=checkpoints,
        objects=objects,
        freezing=freezing,
        shredding=Shredding(checkpoints, stored_packets, objects),
        packets=packets,
        grants=grants,
        debouncing=debouncing,
        outcomes=outcomes,
        placing=Placing(runs, access, versions, index, claiming, credentials, known_regions),
        expiring=Expiring(runs, index),
        endings=Endings(StoredEndings(database), index, triggering.add_queues),
        webhooks=Webhooks(database, stored_webhooks, index, seal, addresses.read(config.webhook_networks)),
        stored_webhooks=stored_webhooks,
        delivering=Delivering(database, stored_webhooks, runs, versions, access, seal),
        deployments=Deployments(
            database,
            versions,
            runs,
            index,
            ArchiveStore(Path(config.data_dir) / "archives"),
            limiting,
            schedules,
            verify=archive.tree_hash,
        ),
        limiting=limiting,
        shares=Shares(StoredShares(database), limiting),
        recovery=Recovery(runs, versions, index, limiting),
        turns=turns,
        checks=Checks(
            database, versions, queue, checkpoints, objects, patience=lease + timedelta(seconds=2 * config.sweep_seconds)
        ),
    )


#: Seconds that a heartbeat's answer waits for large outputs; of a short lease a tenth, as some answers look twice.
_OUTPUTS_PATIENCE = 5.0


def object_store(config: Config, is_used: Callable[[], bool]) -> Objects:
    """Where checkpoints, and large payloads and outputs, are kept. `is_used`: whether there are any."""
    if config.object_store.startswith("s3://"):
        return S3Objects(buckets.read(config.object_store))
    if config.object_store:
        return DirectoryObjects(Path(config.object_store), is_used)
    return DirectoryObjects(Path(config.data_dir) / "objects")


def waiting_terms_of(config: Config) -> WaitingTerms:
    """How runs wait here."""
    return WaitingTerms(
        freeze=config.freeze != "off",
        after=config.freeze_after,
        threshold=config.freeze_threshold,
        short=config.short_wait,
        environments=waiting_terms.read(config.freeze_environments),
    )


def regions_of(config: Config) -> Regions:
    """Where runs may go. `SettingError` for what cannot be used. Executors of one machine are all in the same place."""
    if config.placement != "nomad":
        return Regions()
    try:
        return regions.read(config.regions, config.nomad_sites)
    except BadRegions as error:
        raise SettingError(str(error)) from None


def shim_settings(config: Config) -> dict[str, Any]:
    """What every executor's shim is told, wherever it is placed; times in seconds."""
    return {
        "idle_timeout": config.idle_timeout_seconds,
        "heartbeat": config.heartbeat_seconds,
        "lease": config.lease_seconds,
        "cancel_grace": config.cancel_grace_seconds,
        "term_grace": config.term_grace_seconds,
        "drain_grace": config.drain_grace_seconds,
        "sandbox": sandbox(config),
        "restored_starts": config.restored_starts,
    }
