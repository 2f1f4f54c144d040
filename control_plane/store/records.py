"""What the store hands out: frozen values with the columns' names, never a row that is tied to a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment with the names around it. `type` is DEVELOPMENT, STAGING, PRODUCTION or PREVIEW."""

    id: str
    slug: str
    type: str
    paused: bool
    organization_id: str
    organization_slug: str
    organization_name: str
    project_id: str
    project_ref: str
    project_slug: str
    project_name: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A secret key's row, without anything that opens. `scopes` None: it may do everything.

    `replaced_by`: the key that a rotation made in its place; it opens until `expires_at` all the same.
    """

    id: str
    environment_id: str
    is_root: bool
    hint: str
    name: str | None
    scopes: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A token's row, without anything that opens. `kind` is personal or organization."""

    id: str
    organization_id: str
    kind: str
    hint: str
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Project:
    """A project with its organization's names."""

    id: str
    ref: str
    slug: str
    name: str
    created_at: datetime
    organization_id: str
    organization_slug: str
    organization_name: str
    organization_created_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """A run's row. Texts in `payload`, `output` and `metadata` are JSON unless their type says otherwise."""

    id: str
    organization_id: str
    project_id: str
    environment_id: str
    task: str
    status: str
    snapshot: int
    snapshot_status: str
    payload: str | None
    payload_type: str
    output: str | None
    output_type: str | None
    error: dict[str, Any] | None
    queue: str
    concurrency_key: str | None
    machine: str
    region: str
    priority_ms: int
    locked_version_id: str | None
    version_id: str | None
    attempt: int
    max_attempts: int
    max_duration: int | None
    dequeues: int
    queued_at: datetime | None
    available_at: datetime | None
    ttl_seconds: int | None
    ttl_expires_at: datetime | None
    lease_until: datetime | None
    executor_id: str | None
    warm_start: bool | None
    tags: list[str]
    metadata: str | None
    idempotency_key: str | None
    idempotency_expires_at: datetime | None
    idempotency_options: dict[str, Any] | None
    parent_run_id: str | None
    root_run_id: str | None
    depth: int
    source: str
    is_test: bool
    replay_of: str | None
    usage_ms: int
    created_at: datetime
    updated_at: datetime
    delayed_until: datetime | None
    started_at: datetime | None
    executed_at: datetime | None
    finished_at: datetime | None
    batch_id: str | None
    wait_need: str | None
    wait_keys: list[str] | None
    awaited: bool
    checkpoint_id: str | None
    frozen_on: str | None
    alive_reason: str | None
    frozen_ms: int
    schedule_id: str | None = None
    scheduled_at: datetime | None = None
    external_deployment_id: str | None = None
    hook_of: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move answers about the run it moved: enough to tell the queue and the waiters."""

    id: str
    organization_id: str
    environment_id: str
    task: str
    status: str
    snapshot: int
    snapshot_status: str
    queue: str
    concurrency_key: str | None
    machine: str
    region: str
    version_id: str | None
    locked_version_id: str | None
    queued_at: datetime | None
    priority_ms: int
    attempt: int
    executor_id: str | None
    parent_run_id: str | None
    awaited: bool
    checkpoint_id: str | None
    frozen_on: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One row of a run's history."""

    run_id: str
    seq: int
    from_status: str | None
    event: str
    status: str
    run_status: str
    attempt: int
    executor_id: str | None
    warm: bool | None
    error: dict[str, Any] | None
    description: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a run, read out of its history. `outcome` is None while it runs, else the event that ended it."""

    number: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: dict[str, Any] | None
    executor_id: str | None
    warm: bool | None


@dataclass(frozen=True, slots=True)
class Version:
    """A deployed background worker. `content_hash` names its tree of files; `image`: what it runs in by docker.

    `external_id`: what its deployer calls it, such as a commit.
    """

    id: str
    environment_id: str
    number: str
    content_hash: str
    sdk_version: str
    python_version: str
    image: str | None
    created_at: datetime
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a version. `retry` is as the manifest has it."""

    version_id: str
    slug: str
    file_path: str
    export_name: str
    description: str | None
    queue: str
    machine: str
    retry: dict[str, Any]
    max_attempts: int
    max_duration: int | None
    ttl_seconds: int | None
    payload_schema: dict[str, Any] | None
    may_freeze: bool | None
    schedule: dict[str, Any] | None = None
    on_end: bool | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue. `base_limit`: as code declares it; `limit`: what holds now; None: the environment's, `environment_limit`.

    `rate`, `key_rate`: how many runs of it, and of each key, may start, as `{limit, seconds, burst}`.
    """

    id: str
    environment_id: str
    name: str
    paused: bool
    base_limit: int | None
    override_limit: int | None
    override_percent: float | None
    overridden_at: datetime | None
    limit: int | None
    environment_limit: int
    rate: dict[str, Any] | None
    key_rate: dict[str, Any] | None

    @property
    def is_overridden(self) -> bool:
        """Whether another limit holds than the declared one."""
        return self.overridden_at is not None


@dataclass(frozen=True, slots=True)
class QueueKey:
    """A concurrency key of a queue with a `limit` or a `rate` of its own; None: what each key of the queue has."""

    key: str
    limit: int | None
    override_percent: float | None
    overridden_at: datetime | None
    rate: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Executor:
    """An executor on a cluster. `job_id` is the parameterized job, `child_job_id` what was dispatched of it."""

    id: str
    organization_id: str
    environment_id: str
    version_id: str
    machine: str
    region: str
    lane: str
    run_id: str | None
    snapshot: int | None
    cluster: str
    namespace: str
    job_id: str
    child_job_id: str | None
    allocation_id: str | None
    node_id: str | None
    node_name: str | None
    placed_at: datetime
    admitted_at: datetime | None
    running_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    cause: str | None
    reason: str | None
    isolation: str | None
    node_type: str | None
    #: Whether the run it was placed for is frozen. Known when it is admitted.
    thaws: bool | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A frozen process of a run. BEGUN: it has a key; STORED: its image is whole; RECORDED: the run was suspended with it.

    `attempt`, `snapshot`: where the run stood when it was begun. Times in ms, sizes in bytes.
    """

    id: str
    run_id: str
    organization_id: str
    environment_id: str
    executor_id: str
    attempt: int
    snapshot: int
    status: str
    node_type: str
    context: str
    key_sealed: str | None
    stored_bytes: int | None
    image_bytes: int | None
    freeze_ms: int | None
    store_ms: int | None
    thaw_ms: int | None
    created_at: datetime
    stored_at: datetime | None
    recorded_at: datetime | None
    thawed_at: datetime | None
    gone_at: datetime | None
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Waitpoint:
    """What runs can wait for. `kind`: date, token or run; `due_at`: a date's end, or how long a token is waited for.

    `output` is JSON text unless its type says otherwise; `completed_by`: date, timeout, api, callback or run.
    """

    id: str
    organization_id: str
    environment_id: str
    kind: str
    status: str
    due_at: datetime | None
    run_id: str | None
    idempotency_key: str | None
    idempotency_expires_at: datetime | None
    tags: list[str]
    output: str | None
    output_type: str | None
    is_error: bool
    completed_by: str | None
    created_at: datetime
    completed_at: datetime | None

    @property
    def is_done(self) -> bool:
        """Whether the waiting for it is over."""
        return self.status == "COMPLETED"


@dataclass(frozen=True, slots=True)
class Wait(Waitpoint):
    """A waitpoint as one attempt of a run waits for it, by the key that its process chose."""

    key: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a task is triggered by itself. `next_tick`: the moment that is named next; `due_at`: when it is looked at.

    `held`: its tick waits for a run to end. `deduplication_key`: None where deployed code declares it.
    """

    id: str
    organization_id: str
    environment_id: str
    type: str
    task: str
    cron: str
    timezone: str
    time_window: str | None
    phase: int
    overlap: str
    catch_up: str
    external_id: str | None
    deduplication_key: str | None
    active: bool
    next_tick: datetime | None
    due_at: datetime | None
    held: bool
    last_tick: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """Runs that were asked for together. `items`: how many are stored; `failed`: those that could not be triggered.

    `status`: PENDING until all items are there, then PROCESSING, or PARTIAL_FAILED if some could not be triggered, and
    COMPLETED when every run is over. ABORTED: items were missing for too long, or none could be triggered.
    """

    id: str
    organization_id: str
    environment_id: str
    status: str
    run_count: int
    items: int
    failed: int
    parent_run_id: str | None
    idempotency_key: str | None
    idempotency_expires_at: datetime | None
    idempotency_options: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    sealed_at: datetime | None
    completed_at: datetime | None

    @property
    def is_sealed(self) -> bool:
        """Whether all of its items are there."""
        return self.sealed_at is not None


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def build(kind: type[T], row: Mapping[str, Any]) -> T:
    """A `kind` out of a row that has at least its fields."""
    return kind(*[row.get(name) for name in _names(kind)])  # type: ignore[arg-type]
