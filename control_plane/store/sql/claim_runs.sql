-- Gives dequeued runs to executors, pinning each to its version; a warm executor's run begins at once.
--
-- $1: [{run, executor?, version?, node_type?, start, at, until?, lease_until}]
--     executor  absent: only a run that has one already, in whose memory it waits, is let go on
--     version  the id of the version that the executor has loaded; absent: any will do (it is not started yet)
--     node_type  what the executor's node is, as it says; a frozen run is given to no other that waits on the line
--     start    true: the executor waits on the line, so that dequeue and start are one move (two history rows);
--              a frozen run is dequeued only, since it goes on where it was, once it is thawed
--     until    when the queue's lease on the run is over: a claim that comes later changes nothing
-- Returns a row for each run that exists: {run, verdict, version_id, ...the run's columns}. Verdicts:
--     claimed          it is the executor's
--     readmitted       its process waits in memory, and goes on there: the slots that it was dequeued with are its own
--     stale            it is not QUEUED: somebody else has it, or it is over
--     too_late         the queue's lease on it is over: it goes back to its place
--     busy             the executor begins at once and has another run: an older request of it was overtaken by this one
--     version_missing  no version has its task
--     other_version    it belongs to another version than the executor's
--     other_node       its frozen process needs another type of node than the executor's
-- Dates never run backwards, though the clocks of two processes may differ by a few ms.
-- Invariant: only a QUEUED run is claimed, and a QUEUED_EXECUTING one readmitted, once; its version never changes after
--     its first claim.
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1) AS w (
        run text, executor text, version text, node_type text, start boolean, at timestamptz, until timestamptz,
        lease_until timestamptz)
), locked AS MATERIALIZED (
    SELECT r.id, r.task, r.snapshot, r.snapshot_status, w.executor, w.version, w.node_type, w.start AS waits, w.at, w.until,
        w.lease_until, w.start AND r.checkpoint_id IS NULL AS start, r.frozen_on,
        coalesce(r.version_id, r.locked_version_id, e.current_version_id) AS runs_on
    FROM runs r
    JOIN wanted w ON w.run = r.id
    JOIN environments e ON e.id = r.environment_id
    ORDER BY r.id
    FOR UPDATE OF r
), judged AS MATERIALIZED (
    SELECT l.*, CASE
        WHEN l.snapshot_status NOT IN ('QUEUED', 'QUEUED_EXECUTING') THEN 'stale'
        WHEN l.executor IS NULL AND l.snapshot_status = 'QUEUED' THEN 'stale'
        -- Judged while the row is locked: whoever reads the row under a lock after `until` sees this claim, or prevents it.
        WHEN clock_timestamp() >= l.until THEN 'too_late'
        WHEN l.snapshot_status = 'QUEUED_EXECUTING' THEN 'readmitted'
        WHEN t.slug IS NULL THEN 'version_missing'
        WHEN l.waits AND EXISTS (
            SELECT 1 FROM runs x
            WHERE x.executor_id = l.executor AND x.id <> l.id AND x.snapshot_status IN
                ('PENDING_EXECUTING', 'EXECUTING', 'EXECUTING_WITH_WAITPOINTS', 'QUEUED_EXECUTING')
        ) THEN 'busy'
        WHEN l.version <> l.runs_on THEN 'other_version'
        WHEN l.waits AND l.frozen_on <> coalesce(l.node_type, '') THEN 'other_node'
        ELSE 'claimed' END AS verdict
    FROM locked l
    LEFT JOIN tasks t ON t.version_id = l.runs_on AND t.slug = l.task
), moved AS (
    UPDATE runs r SET
        snapshot = r.snapshot + CASE WHEN j.start THEN 2 ELSE 1 END,
        snapshot_status = CASE WHEN j.start THEN 'EXECUTING' ELSE 'PENDING_EXECUTING' END,
        status = CASE WHEN j.start THEN 'EXECUTING' WHEN j.frozen_on IS NOT NULL THEN 'WAITING' ELSE 'DEQUEUED' END,
        version_id = j.runs_on,
        executor_id = j.executor,
        warm_start = j.waits,
        lease_until = j.lease_until,
        dequeues = CASE WHEN j.start THEN 0 ELSE r.dequeues + 1 END,
        attempt = CASE WHEN j.start THEN r.attempt + 1 ELSE r.attempt END,
        started_at = coalesce(r.started_at, greatest(j.at, r.updated_at)),
        executed_at = CASE WHEN j.start THEN coalesce(r.executed_at, greatest(j.at, r.updated_at)) ELSE r.executed_at END,
        updated_at = greatest(j.at, r.updated_at)
    FROM judged j
    WHERE r.id = j.id AND j.verdict = 'claimed'
    RETURNING r.*
), readmitted AS (
    UPDATE runs r SET
        snapshot = r.snapshot + 1, snapshot_status = 'EXECUTING', wait_need = NULL, wait_keys = NULL,
        updated_at = greatest(j.at, r.updated_at)
    FROM judged j
    WHERE r.id = j.id AND j.verdict = 'readmitted'
    RETURNING r.id, r.snapshot, r.attempt, r.executor_id, r.warm_start, r.updated_at
), history AS (
    INSERT INTO snapshots (run_id, seq, from_status, event, status, run_status, attempt, executor_id, warm, created_at)
    SELECT m.id, j.snapshot + 1, 'QUEUED', 'DEQUEUE', 'PENDING_EXECUTING',
        CASE WHEN j.frozen_on IS NOT NULL THEN 'WAITING' ELSE 'DEQUEUED' END,
        CASE WHEN j.start THEN m.attempt - 1 ELSE m.attempt END, j.executor, j.waits, m.updated_at
    FROM moved m JOIN judged j ON j.id = m.id
    UNION ALL
    SELECT m.id, j.snapshot + 2, 'PENDING_EXECUTING', 'START', 'EXECUTING', 'EXECUTING', m.attempt, j.executor,
        true, m.updated_at
    FROM moved m JOIN judged j ON j.id = m.id
    WHERE j.start
    UNION ALL
    SELECT id, snapshot, 'QUEUED_EXECUTING', 'READMIT', 'EXECUTING', 'EXECUTING', attempt, executor_id, warm_start,
        updated_at
    FROM readmitted
)
SELECT j.id AS run, j.verdict, j.runs_on, j.snapshot AS was, m.*
FROM judged j LEFT JOIN moved m ON m.id = j.id
