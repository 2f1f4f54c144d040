-- Takes messages to webhooks that are due, for whoever sends them.
--
-- $1: {now, until, most, failing, each}
--     until    whoever takes them has until then; afterwards they are there for others, with the same ids
--     most     how many in all
--     failing  how many of these may be for webhooks whose last attempt failed
--     each     how many may be under way to one webhook
-- Returns a row for each message that was taken, with where it goes and what signs it.
-- Invariant: webhooks take turns, and one that fails has one message under way at a time, so that nobody waits for those of
--     another, whether they are many or slow. A message is one taker's until its time is over.
WITH asked AS (
    SELECT * FROM jsonb_to_record($1) AS a (now timestamptz, until timestamptz, most int, failing int, each int)
), ready AS (
    SELECT d.id, w.failures > 0 AS failing,
        row_number() OVER (PARTITION BY w.failures > 0 ORDER BY d.round, d.due_at, d.id) AS place
    FROM asked a CROSS JOIN webhooks w
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM webhook_deliveries d
        WHERE d.webhook_id = w.id AND d.status = 'PENDING' AND d.taken_until > a.now
    ) under_way
    CROSS JOIN LATERAL (
        SELECT d.id, d.due_at, row_number() OVER (ORDER BY d.due_at, d.id) AS round
        FROM webhook_deliveries d
        WHERE d.webhook_id = w.id AND d.status = 'PENDING' AND d.due_at <= a.now
            AND (d.taken_until IS NULL OR d.taken_until <= a.now)
        ORDER BY d.due_at, d.id
        LIMIT greatest(least(CASE WHEN w.failures > 0 THEN 1 ELSE a.each END, a.most) - under_way.n, 0)
    ) d
    WHERE w.disabled_at IS NULL
), chosen AS (
    SELECT r.id FROM ready r, asked a
    WHERE NOT r.failing OR r.place <= a.failing
    ORDER BY r.failing, r.place
    LIMIT (SELECT most FROM asked)
)
UPDATE webhook_deliveries d SET attempts = d.attempts + 1, attempted_at = a.now, taken_until = a.until
FROM chosen c, webhooks w, asked a
WHERE d.id = c.id AND w.id = d.webhook_id AND d.status = 'PENDING' AND (d.taken_until IS NULL OR d.taken_until <= a.now)
RETURNING d.id, d.webhook_id, d.environment_id, d.run_id, d.event, d.attempts, d.give_up_at, w.url, w.secret_sealed,
    w.previous_sealed, w.previous_until, w.failures > 0 AS failing
