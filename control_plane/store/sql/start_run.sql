-- Begins an attempt of a run that an executor already holds: its first, or the next one after an immediate retry.
--
-- $1: {run, snapshot, executor, at, lease_until}
-- Returns the run's columns, or no row when the snapshot is not the newest or the run is another executor's.
-- Invariant: the attempt number grows by one with each START row. A frozen run is never started: it goes on.
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_record($1) AS w (
        run text, snapshot int, executor text, at timestamptz, lease_until timestamptz)
), moved AS (
    UPDATE runs r SET
        snapshot = r.snapshot + 1, snapshot_status = 'EXECUTING', status = 'EXECUTING', attempt = r.attempt + 1,
        dequeues = 0, lease_until = w.lease_until, executed_at = coalesce(r.executed_at, greatest(w.at, r.updated_at)),
        updated_at = greatest(w.at, r.updated_at)
    FROM wanted w
    WHERE r.id = w.run AND r.snapshot = w.snapshot AND r.executor_id = w.executor
        AND r.snapshot_status = 'PENDING_EXECUTING' AND r.checkpoint_id IS NULL
    RETURNING r.*
), history AS (
    INSERT INTO snapshots (run_id, seq, from_status, event, status, run_status, attempt, executor_id, warm, created_at)
    -- An attempt after one that failed here has an executor that was there, however the first one began.
    SELECT id, snapshot, 'PENDING_EXECUTING', 'START', 'EXECUTING', 'EXECUTING', attempt, executor_id,
        warm_start OR EXISTS (
            SELECT 1 FROM snapshots s WHERE s.run_id = moved.id AND s.seq = moved.snapshot - 1 AND s.event = 'RETRY_NOW'
        ), updated_at
    FROM moved
)
SELECT * FROM moved
