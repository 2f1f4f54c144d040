-- Renews the lease of a run for the executor that holds it, and says where the run stands.
--
-- $1: {run, snapshot, executor, lease_until}
-- Returns {snapshot, snapshot_status, renewed, ours}: renewed is false when the run has moved on from the snapshot, but by
--     a wait of its own, of which its executor may not have heard yet; ours says whether the run still names this executor.
--     No row: there is no such run.
-- Invariant: a beat never moves a run.
WITH beat AS MATERIALIZED (
    SELECT * FROM jsonb_to_record($1) AS b (run text, snapshot int, executor text, lease_until timestamptz)
), renewed AS (
    UPDATE runs r SET lease_until = b.lease_until
    FROM beat b
    WHERE r.id = b.run AND r.executor_id = b.executor
        AND r.snapshot_status IN ('PENDING_EXECUTING', 'EXECUTING', 'EXECUTING_WITH_WAITPOINTS', 'QUEUED_EXECUTING')
        AND (r.snapshot = b.snapshot OR r.snapshot > b.snapshot AND NOT EXISTS (
            SELECT 1 FROM snapshots s
            WHERE s.run_id = b.run AND s.seq > b.snapshot AND s.event NOT IN ('BLOCK', 'UNBLOCK_QUEUED', 'READMIT')))
    RETURNING r.id
)
SELECT r.snapshot, r.snapshot_status, r.executor_id = b.executor AS ours,
    EXISTS (SELECT FROM renewed) AS renewed
FROM runs r JOIN beat b ON b.run = r.id
