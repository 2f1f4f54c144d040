-- Ties a run's waits to their waitpoints. A wait that is tied already stays as it is.
--
-- $1: {run, environment, attempt, at, waits: [{key, kind, id?, waitpoint?, awaited?, idempotency_key?}]}
--     id         date: of the waitpoint that was made for it, unless its idempotency key leads to another
--     waitpoint  token: its id
-- Returns {key} of each wait that was tied by this call.
-- Invariant: only what belongs to the run's environment can be waited for.
WITH request AS MATERIALIZED (
    SELECT * FROM jsonb_to_record($1) AS r (run text, environment text, attempt int, at timestamptz, waits jsonb)
), wanted AS MATERIALIZED (
    SELECT r.run, r.environment, r.attempt, r.at, w.key, w.kind, CASE w.kind
        WHEN 'token' THEN w.waitpoint
        WHEN 'run' THEN (SELECT a.id FROM waitpoints a WHERE a.run_id = w.awaited AND a.kind = 'run')
        ELSE coalesce((SELECT k.id FROM waitpoints k
                       WHERE k.environment_id = r.environment AND k.kind = 'date'
                           AND k.idempotency_key = w.idempotency_key), w.id)
        END AS waitpoint
    FROM request r,
    LATERAL jsonb_to_recordset(r.waits) AS w (
        key text, kind text, id text, waitpoint text, awaited text, idempotency_key text)
)
INSERT INTO run_waits (run_id, key, attempt, waitpoint_id, created_at)
SELECT w.run, w.key, w.attempt, p.id, w.at
FROM wanted w JOIN waitpoints p ON p.id = w.waitpoint AND p.kind = w.kind AND p.environment_id = w.environment
ORDER BY w.key
ON CONFLICT DO NOTHING
RETURNING key
