-- Lets runs go that waited for a version, now that the environment's current (or their locked) version has the task.
--
-- A run that asked for a deployment by its name is released by one of that name, the newest, and locked to it.
--
-- $1: {environment, at, limit}
-- Returns a row for each run that moved, with what the queue needs; oldest first. Fewer than `limit`: no more wait.
-- Invariant: what the trigger named stays; only what it left open comes from the task.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_record($1) AS g (environment text, at timestamptz, "limit" int)
), locked AS MATERIALIZED (
    SELECT r.id, r.snapshot, g.at, t.queue, t.machine, t.max_attempts, t.max_duration,
        coalesce((r.asked ->> 'ttl_seconds')::int, t.ttl_seconds, CASE WHEN e.type = 'DEVELOPMENT' THEN 600 END) AS ttl,
        r.delayed_until > g.at AS early, CASE WHEN r.external_deployment_id IS NOT NULL THEN t.version_id END AS lock_id
    FROM given g
    JOIN environments e ON e.id = g.environment
    -- IS NOT DISTINCT FROM: no index can answer it, so that the few runs that wait are not looked for among all.
    JOIN runs r ON r.environment_id IS NOT DISTINCT FROM e.id AND r.organization_id = e.organization_id
        AND r.snapshot_status = 'RUN_CREATED'
    JOIN tasks t ON t.slug = r.task AND t.version_id = coalesce(r.locked_version_id, CASE
        WHEN r.external_deployment_id IS NULL THEN e.current_version_id
        ELSE (SELECT x.id FROM versions x WHERE x.environment_id = e.id AND x.external_id = r.external_deployment_id
              ORDER BY x.id DESC LIMIT 1) END)
    ORDER BY r.id
    LIMIT (SELECT "limit" FROM given)
    FOR UPDATE OF r SKIP LOCKED
), moved AS (
    UPDATE runs r SET
        snapshot = r.snapshot + 1,
        snapshot_status = CASE WHEN l.early THEN 'DELAYED' ELSE 'QUEUED' END,
        status = CASE WHEN l.early THEN 'DELAYED' ELSE 'QUEUED' END,
        queue = coalesce(r.asked ->> 'queue', l.queue),
        machine = coalesce(r.asked ->> 'machine', l.machine),
        max_attempts = coalesce((r.asked ->> 'max_attempts')::int, l.max_attempts),
        max_duration = coalesce((r.asked ->> 'max_duration')::int, l.max_duration),
        ttl_seconds = l.ttl,
        ttl_expires_at = CASE WHEN NOT coalesce(l.early, false) AND l.ttl > 0
            THEN l.at + make_interval(secs => l.ttl) END,
        available_at = CASE WHEN l.early THEN r.delayed_until END,
        asked = NULL,
        locked_version_id = coalesce(r.locked_version_id, l.lock_id),
        updated_at = l.at
    FROM locked l
    WHERE r.id = l.id
    RETURNING r.id, r.organization_id, r.environment_id, r.task, r.status, r.snapshot, r.snapshot_status, r.queue,
        r.concurrency_key, r.machine, r.region, r.version_id, r.locked_version_id, r.queued_at, r.priority_ms, r.attempt,
        r.updated_at
), history AS (
    INSERT INTO snapshots (run_id, seq, from_status, event, status, run_status, attempt, created_at)
    SELECT id, snapshot, 'RUN_CREATED',
        CASE snapshot_status WHEN 'DELAYED' THEN 'VERSION_FOUND_DELAYED' ELSE 'VERSION_FOUND' END,
        snapshot_status, status, attempt, updated_at
    FROM moved
)
SELECT * FROM moved
