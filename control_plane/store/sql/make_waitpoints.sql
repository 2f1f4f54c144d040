-- Makes what a run is about to wait for, as far as it is not there.
--
-- $1: {environment, at, waits: [{kind, id, due_at?, awaited?, idempotency_key?, idempotency_expires_at?}]}
--     id       of the waitpoint to be made: date and run
--     awaited  run: the id of a run of that environment
-- Returns {marked, made}: how many.
-- Invariant: an awaited run is marked under its row's lock, in the transaction that makes the waitpoint. Whoever ends it
--     either sees the mark, or ended it before: so whoever waits looks at the run once this is stored.
WITH request AS MATERIALIZED (
    SELECT * FROM jsonb_to_record($1) AS r (environment text, at timestamptz, waits jsonb)
), wanted AS MATERIALIZED (
    SELECT w.*, e.id AS environment, e.organization_id, r.at
    FROM request r
    JOIN environments e ON e.id = r.environment,
    LATERAL jsonb_to_recordset(r.waits) AS w (
        kind text, id text, due_at timestamptz, awaited text, idempotency_key text, idempotency_expires_at timestamptz)
), marked AS (
    UPDATE runs SET awaited = true
    FROM (SELECT DISTINCT awaited, environment FROM wanted WHERE kind = 'run') w
    WHERE runs.id = w.awaited AND runs.environment_id = w.environment AND NOT runs.awaited
        AND runs.snapshot_status <> 'FINISHED'
    RETURNING runs.id
), made AS (
    INSERT INTO waitpoints (id, organization_id, environment_id, kind, due_at, run_id, idempotency_key,
                            idempotency_expires_at, created_at)
    SELECT w.id, w.organization_id, w.environment, w.kind, w.due_at, w.awaited, w.idempotency_key,
        w.idempotency_expires_at, w.at
    FROM wanted w
    WHERE w.kind = 'date' OR (w.kind = 'run' AND EXISTS (
        SELECT 1 FROM runs a WHERE a.id = w.awaited AND a.environment_id = w.environment))
    ORDER BY w.id
    ON CONFLICT DO NOTHING
    RETURNING id
)
SELECT (SELECT count(*) FROM marked) AS marked, (SELECT count(*) FROM made) AS made
