-- Makes the runs that call hooks of ends, each in the place of its row in the outbox.
--
-- $1: {runs: [{of, id}], at, queue, max_attempts, max_duration, ttl_seconds}
--     of: the run that has ended, with a row in the outbox; id: the new run's
--     ttl_seconds: a run that does not begin by then expires
-- Returns a row for each run that was stored, with what the queue needs to know.
--     No row: somebody else made it, or the run that ended was deleted meanwhile.
-- Invariant: an end has a row in the outbox or a run for its hooks, never both, never two; the same transaction says so.
WITH wanted AS MATERIALIZED (
    SELECT w.*, ($1 ->> 'at')::timestamptz AS at
    FROM jsonb_to_recordset($1 -> 'runs') AS w (of text, id text)
), taken AS (
    DELETE FROM run_ends e USING wanted w WHERE e.run_id = w.of RETURNING w.of, w.id, w.at, e.version_id
), stored AS (
    INSERT INTO runs (
        id, organization_id, project_id, environment_id, task, status, snapshot, snapshot_status, queue, machine, region,
        locked_version_id, max_attempts, max_duration, queued_at, available_at, source, is_test, created_at, updated_at,
        hook_of, ttl_seconds, ttl_expires_at, root_run_id, depth)
    SELECT t.id, r.organization_id, r.project_id, r.environment_id, r.task, 'QUEUED', 1, 'QUEUED', $1 ->> 'queue',
        r.machine, r.region, t.version_id, ($1 ->> 'max_attempts')::int, ($1 ->> 'max_duration')::int, t.at, t.at, 'hook',
        r.is_test, t.at, t.at, r.id, ($1 ->> 'ttl_seconds')::int,
        t.at + make_interval(secs => ($1 ->> 'ttl_seconds')::int), coalesce(r.root_run_id, r.id), r.depth + 1
    FROM taken t JOIN runs r ON r.id = t.of
    ORDER BY t.id
    ON CONFLICT DO NOTHING
    RETURNING id, organization_id, environment_id, task, status, snapshot, snapshot_status, queue, concurrency_key, machine,
        region, locked_version_id, queued_at, priority_ms, attempt
), history AS (
    INSERT INTO snapshots (run_id, seq, event, status, run_status, attempt, created_at)
    SELECT s.id, 1, 'TRIGGER', 'QUEUED', 'QUEUED', 0, t.at FROM stored s JOIN taken t ON t.id = s.id
)
SELECT * FROM stored
