-- Moves runs: each one compare-and-set with its history rows, all in one statement.
--
-- $1: [{run, snapshot, sources, at, steps: [{event, status, run_status}], changes: {column: value}, usage_ms?,
--       description?, error?, lapsed_by?, due_by?}]
--     snapshot   the fencing token the mover holds; another one means it is late
--     sources    the snapshot statuses in which the first step's event can happen
--     lapsed_by  only if its lease was over by then: a heartbeat that came in between keeps the run
--     due_by     only if its delay is over by then: a trigger that came in between may have put it off
--     steps      the rows to append; the run comes to stand in the last one
--     changes    columns that get a new value (null included); absent ones keep theirs
-- Returns a row for each run that moved. A run that did not (stale, gone, in another status) has no row.
-- Invariant: a run's row and its history change together or not at all. Rows are locked in the order of their ids.
-- A checkpoint that the run does not stand on after the move is GONE with it, its key destroyed: whoever cancels, ends or
-- goes on with a run needs not think of that. A hook's time to live begins anew when it comes back to the queue: the run that
-- has ended is kept for it, and its queue may be paused for good.
WITH moves AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1) AS m (
        run text, snapshot int, sources text[], at timestamptz, steps jsonb, changes jsonb, usage_ms bigint,
        description text, error jsonb, lapsed_by timestamptz, due_by timestamptz)
), locked AS MATERIALIZED (
    SELECT r.id, r.snapshot, r.snapshot_status,
        m.steps -> -1 ->> 'status' IN ('SUSPENDED', 'QUEUED', 'PENDING_EXECUTING') AS stays
    FROM runs r JOIN moves m ON m.run = r.id
    WHERE r.snapshot = m.snapshot AND r.snapshot_status = ANY (m.sources)
        AND (m.lapsed_by IS NULL OR r.lease_until <= m.lapsed_by)
        AND (m.due_by IS NULL OR r.available_at <= m.due_by)
    ORDER BY r.id
    FOR UPDATE OF r
), moved AS (
    UPDATE runs r SET
        snapshot = r.snapshot + jsonb_array_length(m.steps),
        snapshot_status = m.steps -> -1 ->> 'status',
        status = m.steps -> -1 ->> 'run_status',
        updated_at = greatest(m.at, r.updated_at),
        usage_ms = r.usage_ms + coalesce(m.usage_ms, 0),
        (output, output_type, error, version_id, machine, attempt, dequeues, queued_at, available_at,
         ttl_expires_at, lease_until, executor_id, warm_start, started_at, executed_at, finished_at, max_attempts,
         idempotency_key, idempotency_expires_at, wait_need, wait_keys, checkpoint_id, frozen_on, alive_reason,
         frozen_ms, delayed_until) = (
            SELECT p.output, p.output_type, p.error, p.version_id, p.machine, p.attempt, p.dequeues, p.queued_at,
                   p.available_at,
                   CASE WHEN r.hook_of IS NOT NULL AND r.started_at IS NOT NULL AND m.steps -> -1 ->> 'status' = 'QUEUED'
                            AND r.snapshot_status NOT IN ('QUEUED', 'PENDING_EXECUTING')
                        THEN m.at + make_interval(secs => r.ttl_seconds) ELSE p.ttl_expires_at END, p.lease_until, p.executor_id, p.warm_start, p.started_at,
                   p.executed_at, CASE WHEN p.finished_at IS NOT NULL THEN greatest(p.finished_at, r.updated_at) END,
                   p.max_attempts, p.idempotency_key, p.idempotency_expires_at, p.wait_need, p.wait_keys,
                   CASE WHEN l.stays THEN p.checkpoint_id END, CASE WHEN l.stays THEN p.frozen_on END, p.alive_reason,
                   p.frozen_ms, p.delayed_until
            FROM jsonb_populate_record(r, m.changes) p)
    FROM moves m, locked l
    WHERE r.id = m.run AND l.id = r.id
    RETURNING r.id, r.organization_id, r.environment_id, r.task, r.status, r.snapshot, r.snapshot_status, r.queue,
        r.concurrency_key, r.machine, r.region, r.version_id, r.locked_version_id, r.queued_at, r.priority_ms, r.attempt,
        r.executor_id, r.warm_start, r.parent_run_id, r.updated_at, r.awaited, r.checkpoint_id, r.frozen_on
), history AS (
    INSERT INTO snapshots (run_id, seq, from_status, event, status, run_status, attempt, executor_id, warm, error,
                           description, created_at)
    SELECT moved.id, l.snapshot + step.n,
           CASE step.n WHEN 1 THEN l.snapshot_status ELSE m.steps -> (step.n - 2)::int ->> 'status' END,
           step.row ->> 'event', step.row ->> 'status', step.row ->> 'run_status', moved.attempt, moved.executor_id,
           moved.warm_start, m.error, m.description, moved.updated_at
    FROM moved
    JOIN moves m ON m.run = moved.id
    JOIN locked l ON l.id = moved.id,
    LATERAL jsonb_array_elements(m.steps) WITH ORDINALITY AS step (row, n)
), forgotten AS (
    UPDATE checkpoints c SET status = 'GONE', key_sealed = NULL, gone_at = moved.updated_at
    FROM moved
    WHERE c.run_id = moved.id AND c.status <> 'GONE' AND c.id IS DISTINCT FROM moved.checkpoint_id
)
SELECT * FROM moved
