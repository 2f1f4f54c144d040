-- What a run's end sets going: the hooks of its task, and messages to endpoints of its environment.
--
-- Both are written by triggers in the transaction of the end, whoever moves the run: an end without them cannot be stored.

-- Told by deployed code. NULL in versions that were stored before.
ALTER TABLE tasks ADD COLUMN on_end boolean;

-- A run that calls the `on_end` hooks of another one, which has ended. One each at most.
ALTER TABLE runs ADD COLUMN hook_of text;

-- Ends whose hooks have no run yet. `version_id`: the version whose hooks are to be called.
CREATE TABLE run_ends (
    run_id text PRIMARY KEY,
    version_id text NOT NULL,
    ended_at timestamptz NOT NULL
);
CREATE INDEX run_ends_oldest ON run_ends (ended_at);

-- Who is told of ends. Secrets are sealed; those before are good until `previous_until`, so that receivers can be changed.
CREATE TABLE webhooks (
    id text PRIMARY KEY,
    organization_id text NOT NULL,
    environment_id text NOT NULL REFERENCES environments,
    url text NOT NULL,
    description text,
    events text[] NOT NULL CHECK (cardinality(events) > 0),
    tasks text[] NOT NULL DEFAULT '{}',                      -- empty: all
    secret_sealed text NOT NULL,
    previous_sealed text[] NOT NULL DEFAULT '{}',            -- the oldest first
    previous_until timestamptz[] NOT NULL DEFAULT '{}',      -- of each
    request_key text,                                        -- the HTTP request that made it, so that a retry finds it
    rotated_key text,                                        -- the one that gave it its secret
    rotated_at timestamptz,
    taken_at timestamptz,                                    -- when a message to it was taken last: who waited longest is next
    failures int NOT NULL DEFAULT 0,                         -- in a row
    failing_since timestamptz,
    disabled_at timestamptz,
    disabled_reason text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT webhooks_failing CHECK ((failures > 0) = (failing_since IS NOT NULL)),
    CONSTRAINT webhooks_disabled CHECK ((disabled_at IS NOT NULL) = (disabled_reason IS NOT NULL)),
    CONSTRAINT webhooks_previous CHECK (cardinality(previous_sealed) = cardinality(previous_until))
);
CREATE INDEX webhooks_environment ON webhooks (environment_id, id DESC);
CREATE UNIQUE INDEX webhooks_request ON webhooks (environment_id, request_key) WHERE request_key IS NOT NULL;

-- Webhooks that were deleted, until what is told of their messages is removed, too.
CREATE TABLE gone_webhooks (
    id text PRIMARY KEY,
    gone_at timestamptz NOT NULL
);

-- One message each. Its id is the message's, the same however often it is sent. No foreign key leads to the webhook: a run's
-- end must not fail, or wait, because somebody deletes one.
CREATE TABLE webhook_deliveries (
    id text PRIMARY KEY,
    webhook_id text NOT NULL,
    environment_id text NOT NULL,
    run_id text NOT NULL,
    event text NOT NULL,
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'DELIVERED', 'FAILED')),
    attempts int NOT NULL DEFAULT 0,
    tries int NOT NULL DEFAULT 0,                            -- the same since somebody asked for it: pauses grow with these
    due_at timestamptz NOT NULL,
    give_up_at timestamptz NOT NULL,                         -- no attempt after that
    taken_until timestamptz,                                 -- somebody sends it; afterwards anybody may
    response_status int,                                     -- of the newest attempt
    error text,                                              -- the same; NULL: none
    created_at timestamptz NOT NULL,
    attempted_at timestamptz,
    delivered_at timestamptz
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE status = 'PENDING';
CREATE INDEX webhook_deliveries_taken ON webhook_deliveries (webhook_id) WHERE status = 'PENDING' AND taken_until IS NOT NULL;
CREATE INDEX webhook_deliveries_late ON webhook_deliveries (give_up_at) WHERE status = 'PENDING';
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (webhook_id, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_of_status ON webhook_deliveries (webhook_id, status, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_run ON webhook_deliveries (run_id);

-- A run that never started has the hooks of the version that it was to start on.
CREATE FUNCTION tell_of_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    version text := coalesce(NEW.version_id, NEW.locked_version_id);
BEGIN
    IF version IS NULL THEN
        SELECT current_version_id INTO version FROM environments WHERE id = NEW.environment_id;
    END IF;
    INSERT INTO run_ends (run_id, version_id, ended_at)
        SELECT NEW.id, version_id, NEW.finished_at FROM tasks WHERE version_id = version AND slug = NEW.task AND on_end;
    INSERT INTO webhook_deliveries (id, webhook_id, environment_id, run_id, event, due_at, give_up_at, created_at)
        SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), w.id, NEW.environment_id, NEW.id,
            'run.' || lower(NEW.status), NEW.finished_at, NEW.finished_at + interval '3 days', NEW.finished_at
        FROM webhooks w
        WHERE w.environment_id = NEW.environment_id AND w.disabled_at IS NULL
            AND 'run.' || lower(NEW.status) = ANY (w.events) AND (w.tasks = '{}' OR NEW.task = ANY (w.tasks));
    RETURN NULL;
END $$;
CREATE TRIGGER runs_tell_of_end AFTER UPDATE ON runs FOR EACH ROW
    WHEN (NEW.snapshot_status = 'FINISHED' AND OLD.snapshot_status <> 'FINISHED' AND NEW.hook_of IS NULL)
    EXECUTE FUNCTION tell_of_end();
CREATE TRIGGER runs_tell_of_end_at_once AFTER INSERT ON runs FOR EACH ROW
    WHEN (NEW.snapshot_status = 'FINISHED' AND NEW.hook_of IS NULL)
    EXECUTE FUNCTION tell_of_end();

-- step: concurrently
CREATE UNIQUE INDEX CONCURRENTLY runs_hook ON runs (hook_of) WHERE hook_of IS NOT NULL;
