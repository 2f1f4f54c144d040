"""The schema on one page, as Peewee sees it. The migrations make it; a test compares the two.

The state of a run is never written through these: `move_runs.sql` and its siblings do that.
"""

from __future__ import annotations

from typing import Any

from peewee import (
    BigIntegerField,
    BooleanField,
    CompositeKey,
    DatabaseProxy,
    DoubleField,
    IntegerField,
    Model,
    TextField,
)
from playhouse.postgres_ext import ArrayField, BinaryJSONField, DateTimeTZField

#: Bound by `Database`-owning code with `bind`; no model knows a connection by itself.
proxy = DatabaseProxy()


class Table(Model):
    class Meta:
        database = proxy
        legacy_table_names = False


class Organization(Table):
    id = TextField(primary_key=True)
    slug = TextField(unique=True)
    name = TextField()
    concurrency_limit = IntegerField(null=True)
    weight = DoubleField(default=1)
    created_at = DateTimeTZField()

    class Meta:
        table_name = "organizations"


class Project(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    ref = TextField(unique=True)
    slug = TextField()
    name = TextField()
    created_at = DateTimeTZField()

    class Meta:
        table_name = "projects"


class Environment(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    project_id = TextField()
    slug = TextField()
    type = TextField()
    concurrency_limit = IntegerField(default=100)
    burst = DoubleField(default=1)
    weight = DoubleField(default=1)
    paused = BooleanField(default=False)
    current_version_id = TextField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        table_name = "environments"


class ApiKey(Table):
    id = TextField(primary_key=True)
    environment_id = TextField()
    is_root = BooleanField()
    hash = TextField(unique=True)
    sealed = TextField(null=True)
    hint = TextField()
    created_at = DateTimeTZField()
    expires_at = DateTimeTZField(null=True)
    revoked_at = DateTimeTZField(null=True)
    name = TextField(null=True)
    scopes: Any = ArrayField(TextField, null=True)
    last_used_at = DateTimeTZField(null=True)
    replaced_by = TextField(null=True)
    request_key = TextField(null=True)
    request_sealed = TextField(null=True)

    class Meta:
        table_name = "api_keys"


class PersonalToken(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    hash = TextField(unique=True)
    hint = TextField()
    created_at = DateTimeTZField()
    revoked_at = DateTimeTZField(null=True)
    kind = TextField()
    name = TextField(null=True)
    expires_at = DateTimeTZField(null=True)
    last_used_at = DateTimeTZField(null=True)

    class Meta:
        table_name = "personal_tokens"


class SpentToken(Table):
    hash = TextField(primary_key=True)
    environment_id = TextField()
    request_key = TextField(null=True)
    at = DateTimeTZField()
    repeated = BooleanField()
    made = TextField(null=True)
    expires_at = DateTimeTZField()

    class Meta:
        table_name = "spent_tokens"


class DashboardSession(Table):
    hash = TextField(primary_key=True)
    organization_id = TextField()
    kind = TextField()
    created_at = DateTimeTZField()
    expires_at = DateTimeTZField()

    class Meta:
        table_name = "dashboard_sessions"


class Version(Table):
    id = TextField(primary_key=True)
    environment_id = TextField()
    number = TextField()
    content_hash = TextField()
    sdk_version = TextField()
    python_version = TextField()
    image = TextField(null=True)
    external_id = TextField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        table_name = "versions"


class Task(Table):
    version_id = TextField()
    slug = TextField()
    file_path = TextField()
    export_name = TextField()
    description = TextField(null=True)
    queue = TextField()
    machine = TextField()
    retry = BinaryJSONField()
    max_attempts = IntegerField()
    max_duration = IntegerField(null=True)
    ttl_seconds = IntegerField(null=True)
    payload_schema = BinaryJSONField(null=True)
    may_freeze = BooleanField(null=True)
    schedule = BinaryJSONField(null=True)
    on_end = BooleanField(null=True)

    class Meta:
        table_name = "tasks"
        primary_key = CompositeKey("version_id", "slug")


class Queue(Table):
    id = TextField(primary_key=True)
    environment_id = TextField()
    name = TextField()
    concurrency_limit = IntegerField(null=True)
    weight = DoubleField(default=1)
    paused = BooleanField(default=False)
    override_limit = IntegerField(null=True)
    override_percent = DoubleField(null=True)
    overridden_at = DateTimeTZField(null=True)
    rate = BinaryJSONField(null=True)
    key_rate = BinaryJSONField(null=True)
    declared_rate = BinaryJSONField(null=True)
    declared_key_rate = BinaryJSONField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        table_name = "queues"


class QueueKey(Table):
    queue_id = TextField()
    key = TextField()
    override_limit = IntegerField(null=True)
    override_percent = DoubleField(null=True)
    overridden_at = DateTimeTZField(null=True)
    rate = BinaryJSONField(null=True)

    class Meta:
        table_name = "queue_keys"
        primary_key = CompositeKey("queue_id", "key")


class Run(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    project_id = TextField()
    environment_id = TextField()
    task = TextField()
    status = TextField()
    snapshot = IntegerField()
    snapshot_status = TextField()
    payload = TextField(null=True)
    payload_type = TextField()
    output = TextField(null=True)
    output_type = TextField(null=True)
    error = BinaryJSONField(null=True)
    queue = TextField()
    concurrency_key = TextField(null=True)
    machine = TextField()
    region = TextField()
    priority_ms = BigIntegerField()
    locked_version_id = TextField(null=True)
    version_id = TextField(null=True)
    attempt = IntegerField()
    max_attempts = IntegerField()
    max_duration = IntegerField(null=True)
    dequeues = IntegerField()
    queued_at = DateTimeTZField(null=True)
    available_at = DateTimeTZField(null=True)
    ttl_seconds = IntegerField(null=True)
    ttl_expires_at = DateTimeTZField(null=True)
    lease_until = DateTimeTZField(null=True)
    executor_id = TextField(null=True)
    warm_start = BooleanField(null=True)
    tags: Any = ArrayField(TextField)
    metadata = TextField(null=True)
    asked = BinaryJSONField(null=True)
    idempotency_key = TextField(null=True)
    idempotency_expires_at = DateTimeTZField(null=True)
    idempotency_options = BinaryJSONField(null=True)
    request_key = TextField(null=True)
    parent_run_id = TextField(null=True)
    root_run_id = TextField(null=True)
    depth = IntegerField()
    source = TextField()
    is_test = BooleanField()
    replay_of = TextField(null=True)
    usage_ms = BigIntegerField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    delayed_until = DateTimeTZField(null=True)
    started_at = DateTimeTZField(null=True)
    executed_at = DateTimeTZField(null=True)
    finished_at = DateTimeTZField(null=True)
    batch_id = TextField(null=True)
    wait_need = TextField(null=True)
    wait_keys: Any = ArrayField(TextField, null=True)
    wait_call = BigIntegerField(null=True)
    awaited = BooleanField()
    checkpoint_id = TextField(null=True)
    frozen_on = TextField(null=True)
    alive_reason = TextField(null=True)
    frozen_ms = BigIntegerField()
    schedule_id = TextField(null=True)
    scheduled_at = DateTimeTZField(null=True)
    external_deployment_id = TextField(null=True)
    metadata_call = BigIntegerField(null=True)
    metadata_requests: Any = ArrayField(TextField, null=True)
    hook_of = TextField(null=True)

    class Meta:
        table_name = "runs"


class Snapshot(Table):
    run_id = TextField()
    seq = IntegerField()
    from_status = TextField(null=True)
    event = TextField()
    status = TextField()
    run_status = TextField()
    attempt = IntegerField()
    executor_id = TextField(null=True)
    warm = BooleanField(null=True)
    error = BinaryJSONField(null=True)
    description = TextField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        table_name = "snapshots"
        primary_key = CompositeKey("run_id", "seq")


class RunLog(Table):
    run_id = TextField()
    attempt = IntegerField()
    n = IntegerField()
    environment_id = TextField()
    at = DateTimeTZField()
    stream = TextField()
    level = TextField()
    message = TextField()
    properties = BinaryJSONField(null=True)

    class Meta:
        table_name = "run_logs"
        primary_key = CompositeKey("run_id", "attempt", "n")


class Executor(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    environment_id = TextField()
    version_id = TextField()
    machine = TextField()
    region = TextField()
    lane = TextField()
    run_id = TextField(null=True)
    snapshot = IntegerField(null=True)
    cluster = TextField()
    namespace = TextField()
    job_id = TextField()
    child_job_id = TextField(null=True)
    allocation_id = TextField(null=True)
    node_id = TextField(null=True)
    node_name = TextField(null=True)
    placed_at = DateTimeTZField()
    admitted_at = DateTimeTZField(null=True)
    running_at = DateTimeTZField(null=True)
    ended_at = DateTimeTZField(null=True)
    exit_code = IntegerField(null=True)
    cause = TextField(null=True)
    reason = TextField(null=True)
    isolation = TextField(null=True)
    node_type = TextField(null=True)
    told_at = DateTimeTZField(null=True)
    removed_at = DateTimeTZField(null=True)

    class Meta:
        table_name = "executors"


class Waitpoint(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    environment_id = TextField()
    kind = TextField()
    status = TextField()
    due_at = DateTimeTZField(null=True)
    run_id = TextField(null=True)
    idempotency_key = TextField(null=True)
    idempotency_expires_at = DateTimeTZField(null=True)
    request_key = TextField(null=True)
    tags: Any = ArrayField(TextField)
    output = TextField(null=True)
    output_type = TextField(null=True)
    is_error = BooleanField()
    completed_by = TextField(null=True)
    created_at = DateTimeTZField()
    completed_at = DateTimeTZField(null=True)

    class Meta:
        table_name = "waitpoints"


class RunWait(Table):
    run_id = TextField()
    key = TextField()
    attempt = IntegerField()
    waitpoint_id = TextField()
    created_at = DateTimeTZField()

    class Meta:
        table_name = "run_waits"
        primary_key = CompositeKey("run_id", "key")


class Checkpoint(Table):
    id = TextField(primary_key=True)
    run_id = TextField()
    organization_id = TextField()
    environment_id = TextField()
    executor_id = TextField()
    attempt = IntegerField()
    snapshot = IntegerField()
    status = TextField()
    node_type = TextField()
    context = TextField()
    key_sealed = TextField(null=True)
    stored_bytes = BigIntegerField(null=True)
    image_bytes = BigIntegerField(null=True)
    freeze_ms = BigIntegerField(null=True)
    store_ms = BigIntegerField(null=True)
    thaw_ms = BigIntegerField(null=True)
    created_at = DateTimeTZField()
    stored_at = DateTimeTZField(null=True)
    recorded_at = DateTimeTZField(null=True)
    thawed_at = DateTimeTZField(null=True)
    gone_at = DateTimeTZField(null=True)
    removed_at = DateTimeTZField(null=True)

    class Meta:
        table_name = "checkpoints"


class Schedule(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    environment_id = TextField()
    type = TextField()
    task = TextField()
    cron = TextField()
    timezone = TextField()
    time_window = TextField(null=True)
    phase = BigIntegerField()
    overlap = TextField()
    catch_up = TextField()
    external_id = TextField(null=True)
    deduplication_key = TextField(null=True)
    active = BooleanField()
    next_tick = DateTimeTZField(null=True)
    due_at = DateTimeTZField(null=True)
    held = BooleanField()
    last_tick = DateTimeTZField(null=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        table_name = "schedules"


class Batch(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    environment_id = TextField()
    status = TextField()
    run_count = IntegerField()
    items = IntegerField()
    failed = IntegerField()
    parent_run_id = TextField(null=True)
    idempotency_key = TextField(null=True)
    idempotency_expires_at = DateTimeTZField(null=True)
    idempotency_options = BinaryJSONField(null=True)
    request_key = TextField(null=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    sealed_at = DateTimeTZField(null=True)
    completed_at = DateTimeTZField(null=True)

    class Meta:
        table_name = "batches"


class BatchItem(Table):
    batch_id = TextField()
    position = IntegerField()
    run_id = TextField()
    cached = BooleanField()
    failed = BooleanField()

    class Meta:
        table_name = "batch_items"
        primary_key = CompositeKey("batch_id", "position")


class Debounce(Table):
    environment_id = TextField()
    name = TextField()
    run_id = TextField()
    first_at = DateTimeTZField()
    requests: Any = ArrayField(TextField)

    class Meta:
        table_name = "debounces"
        primary_key = CompositeKey("environment_id", "name")


class GonePacket(Table):
    name = TextField(primary_key=True)

    class Meta:
        table_name = "gone_packets"


class RunFacet(Table):
    key = BigIntegerField()
    run_id = TextField()

    class Meta:
        table_name = "run_facets"
        primary_key = CompositeKey("key", "run_id")


class BulkAction(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    environment_id = TextField()
    type = TextField()
    status = TextField()
    name = TextField(null=True)
    region = TextField(null=True)
    filter = BinaryJSONField(null=True)
    run_ids: Any = ArrayField(TextField, null=True)
    upto = TextField()
    reached = TextField(null=True)
    page: Any = ArrayField(TextField, null=True)
    total = BigIntegerField(null=True)
    succeeded = BigIntegerField()
    failed = BigIntegerField()
    request_key = TextField(null=True)
    created_at = DateTimeTZField()
    completed_at = DateTimeTZField(null=True)

    class Meta:
        table_name = "bulk_actions"


class BulkActionRun(Table):
    bulk_action_id = TextField()
    run_id = TextField()

    class Meta:
        table_name = "bulk_action_runs"
        primary_key = CompositeKey("bulk_action_id", "run_id")


class EnvironmentVariable(Table):
    environment_id = TextField()
    name = TextField()
    sealed = TextField()
    bytes = IntegerField()
    is_secret = BooleanField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        table_name = "environment_variables"
        primary_key = CompositeKey("environment_id", "name")


class RunEnd(Table):
    run_id = TextField(primary_key=True)
    version_id = TextField()
    ended_at = DateTimeTZField()

    class Meta:
        table_name = "run_ends"


class Webhook(Table):
    id = TextField(primary_key=True)
    organization_id = TextField()
    environment_id = TextField()
    url = TextField()
    description = TextField(null=True)
    events: Any = ArrayField(TextField)
    tasks: Any = ArrayField(TextField)
    secret_sealed = TextField()
    previous_sealed: Any = ArrayField(TextField)
    previous_until: Any = ArrayField(DateTimeTZField)
    request_key = TextField(null=True)
    rotated_key = TextField(null=True)
    rotated_at = DateTimeTZField(null=True)
    taken_at = DateTimeTZField(null=True)
    failures = IntegerField()
    failing_since = DateTimeTZField(null=True)
    disabled_at = DateTimeTZField(null=True)
    disabled_reason = TextField(null=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        table_name = "webhooks"


class GoneWebhook(Table):
    id = TextField(primary_key=True)
    gone_at = DateTimeTZField()

    class Meta:
        table_name = "gone_webhooks"


class WebhookDelivery(Table):
    id = TextField(primary_key=True)
    webhook_id = TextField()
    environment_id = TextField()
    run_id = TextField()
    event = TextField()
    status = TextField()
    attempts = IntegerField()
    tries = IntegerField()
    due_at = DateTimeTZField()
    give_up_at = DateTimeTZField()
    taken_until = DateTimeTZField(null=True)
    response_status = IntegerField(null=True)
    error = TextField(null=True)
    created_at = DateTimeTZField()
    attempted_at = DateTimeTZField(null=True)
    delivered_at = DateTimeTZField(null=True)

    class Meta:
        table_name = "webhook_deliveries"


class ClusterKey(Table):
    cluster = TextField()
    kid = TextField()
    jwk = BinaryJSONField()
    fetched_at = DateTimeTZField()

    class Meta:
        table_name = "cluster_keys"
        primary_key = CompositeKey("cluster", "kid")


TABLES = (
    Organization,
    Project,
    Environment,
    ApiKey,
    PersonalToken,
    DashboardSession,
    SpentToken,
    Version,
    Task,
    Queue,
    Run,
    Snapshot,
    RunLog,
    Executor,
    Waitpoint,
    RunWait,
    Checkpoint,
    Schedule,
    Batch,
    BatchItem,
    Debounce,
    GonePacket,
    RunFacet,
    BulkAction,
    BulkActionRun,
    EnvironmentVariable,
    RunEnd,
    Webhook,
    GoneWebhook,
    WebhookDelivery,
    ClusterKey,
)
