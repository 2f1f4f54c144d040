-- Renews the lease of a run for the executor that holds it, and says where the run stands.
--
-- $1: {run, snapshot, executor, lease_until}
-- Returns {snapshot, snapshot_status, renewed, ours}: renewed is false when the snapshot is not the newest;
--     ours says whether the run still names this executor. No row: there is no such run.
-- Invariant: a beat never moves a run.
WITH beat AS MATERIALIZED (
    SELECT * FROM jsonb_to_record($1) AS b (run text, snapshot int, executor text, lease_until timestamptz)
), renewed AS (
    UPDATE runs r SET lease_until = b.lease_until
    FROM beat b
    WHERE r.id = b.run AND r.snapshot = b.snapshot AND r.executor_id = b.executor
        AND r.snapshot_status IN ('PENDING_EXECUTING', 'EXECUTING', 'EXECUTING_WITH_WAITPOINTS', 'QUEUED_EXECUTING')
    RETURNING r.id
)
SELECT r.snapshot, r.snapshot_status, r.executor_id = b.executor AS ours,
    EXISTS (SELECT FROM renewed) AS renewed
FROM runs r JOIN beat b ON b.run = r.id
