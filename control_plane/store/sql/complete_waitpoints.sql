-- Completes waitpoints: the first who says so wins, whoever comes later changes nothing.
--
-- $1: [{waitpoint?, run?, output?, output_type?, is_error?, by, at}]
--     run  instead of a waitpoint: the one that stands for the end of that run
-- Returns {waitpoint} of each that was completed by this call.
-- Invariant: a completed waitpoint never changes. Who waits for it is asked in a statement of its own, after this one is
--     stored: a wait that was tied meanwhile would not be seen in here, and whoever tied it has seen a pending waitpoint.
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1) AS w (
        waitpoint text, run text, output text, output_type text, is_error boolean, by text, at timestamptz)
), locked AS MATERIALIZED (
    SELECT p.id, w.output, w.output_type, w.is_error, w.by, w.at
    FROM wanted w
    JOIN waitpoints p ON p.id = coalesce(w.waitpoint, (SELECT a.id FROM waitpoints a WHERE a.run_id = w.run AND a.kind = 'run'))
    WHERE p.status = 'PENDING'
    ORDER BY p.id
    FOR UPDATE OF p
)
UPDATE waitpoints p SET status = 'COMPLETED', output = l.output, output_type = l.output_type,
    is_error = coalesce(l.is_error, false), completed_by = l.by, completed_at = greatest(l.at, p.created_at)
FROM locked l
WHERE p.id = l.id AND p.status = 'PENDING'
RETURNING p.id AS waitpoint
