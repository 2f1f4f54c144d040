-- Takes messages to webhooks that are due, for whoever sends them.
--
-- $1: {now, until, most, failing, each, within}
--     until    whoever takes them has until then; afterwards they are there for others, with the same ids
--     most     how many in all
--     failing  how many of these may be for webhooks whose last attempt failed
--     each     how many may be under way to one webhook
--     within   how many may be under way to one environment's webhooks; half of these to such as failed
-- Returns a row for each message that was taken, with where it goes and what signs it.
-- Invariant: webhooks take turns, first those with the fewest messages under way, then those whose last message was taken
--     the longest ago; one that fails has one message under way at a time. So nobody waits for those of another, whether
--     they are many or slow. A message is one taker's until its time is over. Nobody waits for a lock here.
WITH asked AS (
    SELECT * FROM jsonb_to_record($1) AS a (now timestamptz, until timestamptz, most int, failing int, each int, within int)
), under_way AS MATERIALIZED (
    SELECT d.webhook_id, d.environment_id, w.failures > 0 AS failing, count(*) AS n
    FROM asked a, webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
    WHERE d.status = 'PENDING' AND d.taken_until > a.now
    GROUP BY d.webhook_id, d.environment_id, w.failures > 0
), busy AS MATERIALIZED (
    SELECT environment_id, sum(n) AS n, coalesce(sum(n) FILTER (WHERE failing), 0) AS failing
    FROM under_way GROUP BY environment_id
), ready AS (
    SELECT d.id, w.environment_id, w.failures > 0 AS failing, coalesce(u.n, 0) + d.round AS round, w.taken_at, d.due_at
    FROM asked a CROSS JOIN webhooks w
    LEFT JOIN under_way u ON u.webhook_id = w.id
    CROSS JOIN LATERAL (
        SELECT d.id, d.due_at, row_number() OVER (ORDER BY d.due_at, d.id) AS round
        FROM webhook_deliveries d
        WHERE d.webhook_id = w.id AND d.status = 'PENDING' AND d.due_at <= a.now
            AND (d.taken_until IS NULL OR d.taken_until <= a.now)
        ORDER BY d.due_at, d.id
        LIMIT greatest(least(CASE WHEN w.failures > 0 THEN 1 ELSE a.each END - coalesce(u.n, 0), a.most), 0)
    ) d
    WHERE w.disabled_at IS NULL
), of_kind AS (
    SELECT r.*, row_number() OVER (
        PARTITION BY r.environment_id, r.failing ORDER BY r.round, r.taken_at NULLS FIRST, r.due_at, r.id) AS place
    FROM ready r
), of_environment AS (
    SELECT k.*, row_number() OVER (
        PARTITION BY k.environment_id ORDER BY k.round, k.taken_at NULLS FIRST, k.due_at, k.id) + coalesce(b.n, 0) AS place_in
    FROM of_kind k CROSS JOIN asked a LEFT JOIN busy b ON b.environment_id = k.environment_id
    WHERE NOT k.failing OR k.place + coalesce(b.failing, 0) <= a.within / 2
), in_turn AS (
    SELECT e.*, row_number() OVER (
        PARTITION BY e.failing ORDER BY e.round, e.taken_at NULLS FIRST, e.due_at, e.id) AS turn
    FROM of_environment e, asked a WHERE e.place_in <= a.within
), chosen AS MATERIALIZED (
    SELECT t.id FROM in_turn t, asked a
    WHERE NOT t.failing OR t.turn <= a.failing
    ORDER BY t.round, t.taken_at NULLS FIRST, t.due_at, t.id
    LIMIT (SELECT most FROM asked)
), held AS MATERIALIZED (
    SELECT d.id, d.webhook_id FROM webhook_deliveries d, asked a
    WHERE d.id = ANY (ARRAY(SELECT id FROM chosen)) AND d.status = 'PENDING'
        AND (d.taken_until IS NULL OR d.taken_until <= a.now)
    FOR NO KEY UPDATE OF d SKIP LOCKED
), had_their_turn AS MATERIALIZED (
    SELECT w.id FROM webhooks w WHERE w.id = ANY (ARRAY(SELECT webhook_id FROM held)) FOR NO KEY UPDATE OF w SKIP LOCKED
), marked AS (
    UPDATE webhooks w SET taken_at = a.now FROM had_their_turn t, asked a WHERE w.id = t.id
)
UPDATE webhook_deliveries d
SET attempts = d.attempts + 1, tries = d.tries + 1, attempted_at = a.now, taken_until = a.until
FROM held h, webhooks w, asked a
WHERE d.id = h.id AND w.id = d.webhook_id
RETURNING d.id, d.webhook_id, d.environment_id, d.run_id, d.event, d.attempts, d.tries, d.give_up_at, w.url,
    w.secret_sealed, w.previous_sealed, w.previous_until, w.failures > 0 AS failing
