-- The schema of Sojourn's store. PostgreSQL is the truth: a rule that it can hold, it holds.
-- The two state checks are drawn from domain/lifecycle.py; a test compares them.

CREATE TABLE organizations (
    id text PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    name text NOT NULL,
    concurrency_limit int CHECK (concurrency_limit >= 0),   -- NULL: no cap
    weight double precision NOT NULL DEFAULT 1 CHECK (weight > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE projects (
    id text PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    ref text NOT NULL UNIQUE,
    slug text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, slug)
);

CREATE TABLE environments (
    id text PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    project_id text NOT NULL REFERENCES projects,
    slug text NOT NULL,
    type text NOT NULL CHECK (type IN ('DEVELOPMENT', 'STAGING', 'PRODUCTION', 'PREVIEW')),
    concurrency_limit int NOT NULL DEFAULT 100 CHECK (concurrency_limit >= 0),
    burst double precision NOT NULL DEFAULT 1 CHECK (burst >= 1),
    weight double precision NOT NULL DEFAULT 1 CHECK (weight > 0),
    paused boolean NOT NULL DEFAULT false,
    current_version_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, slug)
);

-- A key is looked up by its hash. A root key is sealed as well, since it signs public tokens.
CREATE TABLE api_keys (
    id text PRIMARY KEY,
    environment_id text NOT NULL REFERENCES environments,
    is_root boolean NOT NULL,
    hash text NOT NULL UNIQUE,
    sealed text,
    hint text NOT NULL,                                      -- its prefix and last four characters, for people
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CHECK (is_root = (sealed IS NOT NULL))
);
CREATE UNIQUE INDEX api_keys_one_root ON api_keys (environment_id) WHERE is_root AND revoked_at IS NULL;

CREATE TABLE personal_tokens (
    id text PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    hash text NOT NULL UNIQUE,
    hint text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- One-time codes and the sessions they become; only hashes are kept.
CREATE TABLE dashboard_sessions (
    hash text PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    kind text NOT NULL CHECK (kind IN ('code', 'session')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE TABLE versions (
    id text PRIMARY KEY,
    environment_id text NOT NULL REFERENCES environments,
    number text NOT NULL CHECK (number ~ '^[0-9]{8}\.[0-9]+$'),
    content_hash text NOT NULL CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    sdk_version text NOT NULL,
    python_version text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (environment_id, number)
);
ALTER TABLE environments ADD FOREIGN KEY (current_version_id) REFERENCES versions;

CREATE TABLE tasks (
    version_id text NOT NULL REFERENCES versions ON DELETE CASCADE,
    slug text NOT NULL,
    file_path text NOT NULL,
    export_name text NOT NULL,
    description text,
    queue text NOT NULL,
    machine text NOT NULL,
    retry jsonb NOT NULL DEFAULT '{}',
    max_attempts int NOT NULL CHECK (max_attempts BETWEEN 1 AND 250),
    max_duration int,
    ttl_seconds int,
    payload_schema jsonb,
    PRIMARY KEY (version_id, slug)
);

CREATE TABLE queues (
    id text PRIMARY KEY,
    environment_id text NOT NULL REFERENCES environments,
    name text NOT NULL,
    concurrency_limit int CHECK (concurrency_limit >= 0),    -- NULL: the environment's
    weight double precision NOT NULL DEFAULT 1 CHECK (weight > 0),
    paused boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (environment_id, name)
);

CREATE TABLE runs (
    id text PRIMARY KEY,
    organization_id text NOT NULL,
    project_id text NOT NULL,
    environment_id text NOT NULL REFERENCES environments,
    task text NOT NULL,
    status text NOT NULL,
    snapshot int NOT NULL,                                   -- seq of the newest row of its history: the fencing token
    snapshot_status text NOT NULL,
    payload text,
    payload_type text NOT NULL DEFAULT 'application/json',
    output text,
    output_type text,
    error jsonb,
    queue text NOT NULL,
    concurrency_key text,
    machine text NOT NULL,
    priority_ms bigint NOT NULL DEFAULT 0,
    locked_version_id text REFERENCES versions,              -- asked for by the trigger
    version_id text REFERENCES versions,                     -- pinned when first dequeued
    attempt int NOT NULL DEFAULT 0,                          -- attempts started so far
    max_attempts int NOT NULL,
    max_duration int,
    dequeues int NOT NULL DEFAULT 0,                         -- placements since an attempt last started
    queued_at timestamptz,                                   -- its place in the queue; kept over a resume
    available_at timestamptz,                                -- DELAYED: when it is due
    ttl_seconds int,
    ttl_expires_at timestamptz,
    lease_until timestamptz,                                 -- its executor must have beaten by then
    executor_id text,
    warm_start boolean,
    tags text[] NOT NULL DEFAULT '{}',
    metadata text,
    asked jsonb,                                             -- what the trigger named, until a version supplies the rest
    idempotency_key text,                                    -- while it holds; released when it fails or expires
    idempotency_expires_at timestamptz,
    idempotency_options jsonb,
    request_key text,                                        -- the HTTP request that made it, so that a retry finds it
    parent_run_id text,
    root_run_id text,
    depth int NOT NULL DEFAULT 0,
    source text NOT NULL,
    is_test boolean NOT NULL DEFAULT false,
    replay_of text,
    usage_ms bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    delayed_until timestamptz,
    started_at timestamptz,                                  -- first dequeued
    executed_at timestamptz,                                 -- first attempt
    finished_at timestamptz,
    CONSTRAINT runs_status_pair CHECK ((snapshot_status, status) IN (
        ('DELAYED', 'DELAYED'),
        ('DELAYED', 'QUEUED'),
        ('EXECUTING', 'EXECUTING'),
        ('EXECUTING_WITH_WAITPOINTS', 'EXECUTING'),
        ('FINISHED', 'CANCELED'),
        ('FINISHED', 'COMPLETED'),
        ('FINISHED', 'CRASHED'),
        ('FINISHED', 'EXPIRED'),
        ('FINISHED', 'FAILED'),
        ('FINISHED', 'SYSTEM_FAILURE'),
        ('FINISHED', 'TIMED_OUT'),
        ('PENDING_CANCEL', 'CANCELED'),
        ('PENDING_EXECUTING', 'DEQUEUED'),
        ('PENDING_EXECUTING', 'EXECUTING'),
        ('PENDING_EXECUTING', 'WAITING'),
        ('QUEUED', 'QUEUED'),
        ('QUEUED', 'WAITING'),
        ('QUEUED_EXECUTING', 'EXECUTING'),
        ('RUN_CREATED', 'PENDING_VERSION'),
        ('SUSPENDED', 'WAITING'))),
    CONSTRAINT runs_finished CHECK ((snapshot_status = 'FINISHED') = (finished_at IS NOT NULL)),
    CONSTRAINT runs_delayed CHECK (snapshot_status <> 'DELAYED' OR available_at IS NOT NULL),
    CONSTRAINT runs_leased CHECK (
        snapshot_status NOT IN ('EXECUTING', 'EXECUTING_WITH_WAITPOINTS', 'PENDING_CANCEL', 'PENDING_EXECUTING', 'QUEUED_EXECUTING')
        OR lease_until IS NOT NULL)
) WITH (fillfactor = 80);
CREATE INDEX runs_newest ON runs (environment_id, id DESC);
CREATE UNIQUE INDEX runs_idempotency ON runs (environment_id, task, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX runs_request ON runs (environment_id, request_key) WHERE request_key IS NOT NULL;
CREATE INDEX runs_live ON runs (organization_id, snapshot_status, id) WHERE snapshot_status <> 'FINISHED';
CREATE INDEX runs_due ON runs (available_at) WHERE snapshot_status = 'DELAYED';
CREATE INDEX runs_lease ON runs (lease_until)
    WHERE snapshot_status IN ('EXECUTING', 'EXECUTING_WITH_WAITPOINTS', 'PENDING_CANCEL', 'PENDING_EXECUTING', 'QUEUED_EXECUTING');
CREATE INDEX runs_expiring ON runs (ttl_expires_at)
    WHERE snapshot_status IN ('QUEUED', 'RUN_CREATED') AND started_at IS NULL AND ttl_expires_at IS NOT NULL;
CREATE INDEX runs_executor ON runs (executor_id) WHERE snapshot_status <> 'FINISHED' AND executor_id IS NOT NULL;
CREATE INDEX runs_children ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;

-- A terminal state is written once, whoever asks.
CREATE FUNCTION refuse_change_of_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'run % is finished', OLD.id USING ERRCODE = 'SJ001';
END $$;
CREATE TRIGGER runs_finished_once BEFORE UPDATE ON runs FOR EACH ROW
    WHEN (OLD.snapshot_status = 'FINISHED' AND (NEW.snapshot, NEW.snapshot_status, NEW.status, NEW.output, NEW.error)
        IS DISTINCT FROM (OLD.snapshot, OLD.snapshot_status, OLD.status, OLD.output, OLD.error))
    EXECUTE FUNCTION refuse_change_of_finished();

-- A run's append-only history. Attempts are read out of it; there is no second record of them.
CREATE TABLE snapshots (
    run_id text NOT NULL,
    seq int NOT NULL CHECK (seq > 0),
    from_status text,
    event text NOT NULL,
    status text NOT NULL,
    run_status text NOT NULL,
    attempt int NOT NULL,
    executor_id text,
    warm boolean,
    error jsonb,
    description text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, seq),
    CONSTRAINT snapshots_move CHECK ((coalesce(from_status, ''), event, status) IN (
        ('', 'TRIGGER', 'QUEUED'),
        ('', 'TRIGGER_DELAYED', 'DELAYED'),
        ('', 'TRIGGER_UNVERSIONED', 'RUN_CREATED'),
        ('DELAYED', 'CANCEL', 'FINISHED'),
        ('DELAYED', 'DUE', 'QUEUED'),
        ('EXECUTING', 'BLOCK', 'EXECUTING_WITH_WAITPOINTS'),
        ('EXECUTING', 'CANCEL', 'PENDING_CANCEL'),
        ('EXECUTING', 'FAIL', 'FINISHED'),
        ('EXECUTING', 'HAND_BACK', 'QUEUED'),
        ('EXECUTING', 'RETRY_LATER', 'DELAYED'),
        ('EXECUTING', 'RETRY_NOW', 'PENDING_EXECUTING'),
        ('EXECUTING', 'SUCCEED', 'FINISHED'),
        ('EXECUTING_WITH_WAITPOINTS', 'CANCEL', 'PENDING_CANCEL'),
        ('EXECUTING_WITH_WAITPOINTS', 'FAIL', 'FINISHED'),
        ('EXECUTING_WITH_WAITPOINTS', 'RETRY_LATER', 'DELAYED'),
        ('EXECUTING_WITH_WAITPOINTS', 'RETRY_NOW', 'PENDING_EXECUTING'),
        ('EXECUTING_WITH_WAITPOINTS', 'SUCCEED', 'FINISHED'),
        ('EXECUTING_WITH_WAITPOINTS', 'SUSPEND', 'SUSPENDED'),
        ('EXECUTING_WITH_WAITPOINTS', 'UNBLOCK', 'EXECUTING'),
        ('EXECUTING_WITH_WAITPOINTS', 'UNBLOCK_QUEUED', 'QUEUED_EXECUTING'),
        ('PENDING_CANCEL', 'CANCEL_ACKNOWLEDGED', 'FINISHED'),
        ('PENDING_EXECUTING', 'CANCEL', 'PENDING_CANCEL'),
        ('PENDING_EXECUTING', 'FAIL', 'FINISHED'),
        ('PENDING_EXECUTING', 'REQUEUE', 'QUEUED'),
        ('PENDING_EXECUTING', 'START', 'EXECUTING'),
        ('QUEUED', 'CANCEL', 'FINISHED'),
        ('QUEUED', 'DEQUEUE', 'PENDING_EXECUTING'),
        ('QUEUED', 'EXPIRE', 'FINISHED'),
        ('QUEUED', 'FAIL', 'FINISHED'),
        ('QUEUED', 'VERSION_MISSING', 'RUN_CREATED'),
        ('QUEUED_EXECUTING', 'CANCEL', 'PENDING_CANCEL'),
        ('QUEUED_EXECUTING', 'FAIL', 'FINISHED'),
        ('QUEUED_EXECUTING', 'READMIT', 'EXECUTING'),
        ('QUEUED_EXECUTING', 'RETRY_LATER', 'DELAYED'),
        ('RUN_CREATED', 'CANCEL', 'FINISHED'),
        ('RUN_CREATED', 'EXPIRE', 'FINISHED'),
        ('RUN_CREATED', 'VERSION_FOUND', 'QUEUED'),
        ('RUN_CREATED', 'VERSION_FOUND_DELAYED', 'DELAYED'),
        ('SUSPENDED', 'CANCEL', 'FINISHED'),
        ('SUSPENDED', 'RESUME', 'QUEUED')))
);

-- Log lines, until a run's environment has a telemetry store of its own. `n` orders them within an attempt.
CREATE TABLE run_logs (
    run_id text NOT NULL,
    attempt int NOT NULL,
    n int NOT NULL,
    environment_id text NOT NULL,
    at timestamptz NOT NULL,
    stream text NOT NULL CHECK (stream IN ('stdout', 'stderr', 'logger', 'system')),
    level text NOT NULL CHECK (level IN ('DEBUG', 'LOG', 'INFO', 'WARN', 'ERROR')),
    message text NOT NULL,
    properties jsonb,
    PRIMARY KEY (run_id, attempt, n)
);
CREATE INDEX run_logs_age ON run_logs (at);
