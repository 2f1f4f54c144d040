-- Of these runs, or of all (when `runs` is null), those that are blocked or frozen although they have what they need.
--
-- $1: {runs?, limit}
-- Returns {run, snapshot, snapshot_status, organization} of each.
-- Invariant: a run needs one, or all, of the waits by its `wait_keys`. A key that leads nowhere (there never was such a
--     thing, or it was removed since) is over, as it is for the process that asks; so nobody waits for it for ever.
WITH request AS MATERIALIZED (
    SELECT * FROM jsonb_to_record($1) AS r (runs text[], "limit" int)
), blocked AS MATERIALIZED (
    SELECT r.id, r.snapshot, r.snapshot_status, r.organization_id, r.wait_need, r.wait_keys
    FROM runs r, request q
    WHERE r.snapshot_status IN ('EXECUTING_WITH_WAITPOINTS', 'SUSPENDED') AND (q.runs IS NULL OR r.id = ANY (q.runs))
)
SELECT b.id AS run, b.snapshot, b.snapshot_status, b.organization_id AS organization
FROM blocked b
CROSS JOIN LATERAL (
    SELECT count(*) AS pending
    FROM run_waits w JOIN waitpoints p ON p.id = w.waitpoint_id
    WHERE w.run_id = b.id AND w.key = ANY (b.wait_keys) AND p.status = 'PENDING'
) waits
WHERE waits.pending = 0
    OR b.wait_need = 'any' AND waits.pending < (SELECT count(DISTINCT key) FROM unnest(b.wait_keys) AS key)
LIMIT (SELECT "limit" FROM request)
