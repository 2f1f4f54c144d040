-- Single concurrency keys of a queue with a limit or a rate of their own, in place of what each key of the queue has.

CREATE TABLE queue_keys (
    queue_id text NOT NULL REFERENCES queues ON DELETE CASCADE,
    key text NOT NULL CHECK (key <> ''),
    override_limit int CHECK (override_limit BETWEEN 0 AND 100000),
    override_percent double precision CHECK (override_percent > 0 AND override_percent <= 100),
    overridden_at timestamptz,
    rate jsonb CHECK (jsonb_typeof(rate) = 'object'),        -- {"limit", "seconds", "burst"}
    PRIMARY KEY (queue_id, key),
    CONSTRAINT queue_keys_overridden CHECK (
        num_nonnulls(override_limit, override_percent) = CASE WHEN overridden_at IS NULL THEN 0 ELSE 1 END),
    CONSTRAINT queue_keys_differ CHECK (overridden_at IS NOT NULL OR rate IS NOT NULL)
);

UPDATE runs SET ttl_expires_at = updated_at + interval '3 days'
    WHERE hook_of IS NOT NULL AND snapshot_status = 'QUEUED' AND started_at IS NOT NULL AND ttl_expires_at IS NULL;

-- step: concurrently
-- Hooks that have begun, and wait in the queue again: the runs whose hooks they are are kept for them, for so long at most.
CREATE INDEX CONCURRENTLY runs_waiting_hooks ON runs (ttl_expires_at)
    WHERE snapshot_status = 'QUEUED' AND hook_of IS NOT NULL AND started_at IS NOT NULL;
