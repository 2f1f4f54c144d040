-- Stores triggered runs, each with the first row of its history.
--
-- $1: [{id, environment, task, payload, payload_type, queue?, concurrency_key?, machine?, region?, priority_ms, version?,
--       max_attempts?, max_duration?, ttl_seconds?, tags, metadata?, idempotency_key?, idempotency_expires_at?,
--       idempotency_options?, request_key?, parent?, source, is_test, replay_of?, at, delay_until?, batch?, error?,
--       schedule?, scheduled_at?, external?}]
--     version: a version's number to lock to. Absent options come from the task of the locked or current version.
--     external: what its deployer calls the version to lock to, where no number says it; ignored in development. While there
--     is none of that name the run waits for one, an hour at most.
--     error: why the run, an item of a batch, cannot be: it is stored as failed, also where its parent is over.
-- Returns a row for each run that was stored, with what the queue needs to know.
--     No row: the id, the idempotency key, the request key or the tick of the schedule is taken, the version to lock to does
--     not exist, or the parent is over, or is being cancelled.
-- Invariant: run and history row are stored together. A run with no task in sight waits for a version.
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1) AS w (
        id text, environment text, task text, payload text, payload_type text, queue text, concurrency_key text,
        machine text, region text, priority_ms bigint, version text, max_attempts int, max_duration int, ttl_seconds int,
        tags text[], metadata text, idempotency_key text, idempotency_expires_at timestamptz,
        idempotency_options jsonb, request_key text, parent text, source text, is_test boolean, replay_of text,
        at timestamptz, delay_until timestamptz, batch text, error jsonb, schedule text, scheduled_at timestamptz,
        external text)
), resolved AS MATERIALIZED (
    SELECT w.*, n.by_name, e.organization_id, e.project_id, v.id AS lock_id, t.slug IS NOT NULL AS versioned,
        coalesce(w.queue, t.queue, 'task/' || w.task) AS to_queue,
        coalesce(w.machine, t.machine, 'small-1x') AS to_machine,
        coalesce(w.max_attempts, t.max_attempts, 3) AS tries,
        coalesce(w.max_duration, t.max_duration) AS duration,
        -- In a development environment nobody waits for long: what finds no executor there is forgotten after 10 minutes.
        coalesce(w.ttl_seconds, t.ttl_seconds, CASE WHEN e.type = 'DEVELOPMENT' THEN 600 END) AS ttl,
        p.id AS parent_id, coalesce(p.root_run_id, p.id) AS root_id, coalesce(p.depth + 1, 0) AS deep,
        CASE WHEN w.error IS NOT NULL THEN 'FINISHED' WHEN t.slug IS NULL THEN 'RUN_CREATED'
            WHEN w.delay_until > w.at THEN 'DELAYED' ELSE 'QUEUED' END AS stands,
        CASE WHEN w.error IS NOT NULL THEN 'SYSTEM_FAILURE' WHEN t.slug IS NULL THEN 'PENDING_VERSION'
            WHEN w.delay_until > w.at THEN 'DELAYED' ELSE 'QUEUED' END AS shows,
        CASE WHEN t.slug IS NULL THEN jsonb_strip_nulls(jsonb_build_object('queue', w.queue, 'machine', w.machine,
            'max_attempts', w.max_attempts, 'max_duration', w.max_duration, 'ttl_seconds', w.ttl_seconds)) END AS asked,
        CASE WHEN t.slug IS NULL AND n.by_name THEN 3600 END AS patience
    FROM wanted w
    JOIN environments e ON e.id = w.environment
    CROSS JOIN LATERAL (
        SELECT w.version IS NULL AND w.external IS NOT NULL AND e.type <> 'DEVELOPMENT' AS by_name) n
    LEFT JOIN versions v ON v.environment_id = e.id AND v.number = coalesce(w.version, CASE WHEN n.by_name THEN (
        SELECT x.number FROM versions x WHERE x.environment_id = e.id AND x.external_id = w.external
        ORDER BY x.id DESC LIMIT 1) END)
    LEFT JOIN tasks t ON t.version_id = coalesce(v.id, CASE WHEN NOT n.by_name THEN e.current_version_id END)
        AND t.slug = w.task
    -- IS NOT DISTINCT FROM: no index can answer it, so that the parent is never looked for among all runs there are.
    LEFT JOIN runs p ON p.id = w.parent AND p.environment_id IS NOT DISTINCT FROM e.id
    -- A version has its tasks for good: what is locked to one that lacks the task would wait for ever, and its parent with it.
    WHERE (v.id IS NOT NULL AND (t.slug IS NOT NULL OR w.error IS NOT NULL) OR v.id IS NULL AND w.version IS NULL)
        AND (p.id IS NULL OR w.error IS NOT NULL OR p.snapshot_status NOT IN ('FINISHED', 'PENDING_CANCEL'))
), stored AS (
    INSERT INTO runs (
        id, organization_id, project_id, environment_id, task, status, snapshot, snapshot_status, payload,
        payload_type, queue, concurrency_key, machine, region, priority_ms, locked_version_id, max_attempts, max_duration,
        queued_at, available_at, ttl_seconds, ttl_expires_at, tags, metadata, asked, idempotency_key,
        idempotency_expires_at, idempotency_options, request_key, parent_run_id, root_run_id, depth, source, is_test,
        replay_of, created_at, updated_at, delayed_until, batch_id, error, finished_at, schedule_id, scheduled_at,
        external_deployment_id)
    SELECT id, organization_id, project_id, environment, task, shows, 1, stands, payload, payload_type, to_queue,
        concurrency_key, to_machine, coalesce(region, 'default'), priority_ms, lock_id, tries, duration,
        CASE WHEN delay_until > at THEN delay_until ELSE at END,
        CASE WHEN delay_until > at THEN delay_until END, ttl,
        CASE WHEN stands <> 'DELAYED' AND (ttl > 0 OR patience IS NOT NULL)
            THEN greatest(at, delay_until) + make_interval(secs => least(nullif(ttl, 0), patience)) END,
        tags, metadata, asked, idempotency_key, idempotency_expires_at, idempotency_options, request_key, parent_id,
        root_id, deep, source, is_test, replay_of, at, at, CASE WHEN delay_until > at THEN delay_until END, batch,
        error, CASE WHEN error IS NOT NULL THEN at END, schedule, scheduled_at, CASE WHEN by_name THEN external END
    FROM resolved ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, organization_id, environment_id, task, status, snapshot_status, queue, concurrency_key, machine,
        region, locked_version_id, queued_at, priority_ms, created_at, error, external_deployment_id
), history AS (
    INSERT INTO snapshots (run_id, seq, event, status, run_status, attempt, error, created_at)
    SELECT id, 1,
        CASE snapshot_status WHEN 'QUEUED' THEN 'TRIGGER' WHEN 'DELAYED' THEN 'TRIGGER_DELAYED'
            WHEN 'FINISHED' THEN 'TRIGGER_FAILED' ELSE 'TRIGGER_UNVERSIONED' END,
        snapshot_status, status, 0, error, created_at
    FROM stored
)
SELECT * FROM stored
