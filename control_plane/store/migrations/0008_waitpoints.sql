-- What runs wait for. A waitpoint is completed once; a wait is one run's stake in it, by the name that its process gave it.

CREATE TABLE waitpoints (
    id text PRIMARY KEY,
    organization_id text NOT NULL,
    environment_id text NOT NULL REFERENCES environments,
    kind text NOT NULL CHECK (kind IN ('date', 'token', 'run')),
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'COMPLETED')),
    due_at timestamptz,                                      -- date: when it is over; token: how long it is waited for
    run_id text,                                             -- run: the one that is waited for
    idempotency_key text,                                    -- while it holds
    idempotency_expires_at timestamptz,
    tags text[] NOT NULL DEFAULT '{}',
    output text,
    output_type text,
    is_error boolean NOT NULL DEFAULT false,
    completed_by text,                                       -- date, timeout, api, callback or run
    created_at timestamptz NOT NULL,
    completed_at timestamptz,
    CHECK ((kind = 'run') = (run_id IS NOT NULL)),
    CHECK (kind <> 'date' OR due_at IS NOT NULL),
    CHECK ((status = 'COMPLETED') = (completed_at IS NOT NULL))
);
-- A key is one of dates or one of tokens: neither leads to the other.
CREATE UNIQUE INDEX waitpoints_key ON waitpoints (environment_id, kind, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX waitpoints_run ON waitpoints (run_id) WHERE kind = 'run';
CREATE INDEX waitpoints_due ON waitpoints (due_at) WHERE status = 'PENDING' AND due_at IS NOT NULL;
CREATE INDEX waitpoints_running ON waitpoints (run_id) WHERE status = 'PENDING' AND kind = 'run';
CREATE INDEX waitpoints_tokens ON waitpoints (environment_id, id DESC) WHERE kind = 'token';

CREATE TABLE run_waits (
    run_id text NOT NULL,
    key text NOT NULL,
    attempt int NOT NULL,
    waitpoint_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, key)
);
CREATE INDEX run_waits_waitpoint ON run_waits (waitpoint_id);

-- What a blocked run needs: one, or all, of the waits by these keys. `awaited`: some run waits for this one.
ALTER TABLE runs
    ADD COLUMN wait_need text CHECK (wait_need IN ('any', 'all')),
    ADD COLUMN wait_keys text[],
    ADD COLUMN awaited boolean NOT NULL DEFAULT false;
CREATE INDEX runs_resting ON runs (id) WHERE snapshot_status IN ('EXECUTING_WITH_WAITPOINTS', 'QUEUED_EXECUTING');
CREATE INDEX runs_blocked ON runs (id) WHERE snapshot_status IN ('EXECUTING_WITH_WAITPOINTS', 'SUSPENDED');

CREATE OR REPLACE FUNCTION is_standing(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce($1, '') || ' ' || coalesce($2, '') = ANY (ARRAY[
        'DELAYED DELAYED',
        'DELAYED QUEUED',
        'EXECUTING EXECUTING',
        'EXECUTING_WITH_WAITPOINTS EXECUTING',
        'FINISHED CANCELED',
        'FINISHED COMPLETED',
        'FINISHED CRASHED',
        'FINISHED EXPIRED',
        'FINISHED FAILED',
        'FINISHED SYSTEM_FAILURE',
        'FINISHED TIMED_OUT',
        'PENDING_CANCEL CANCELED',
        'PENDING_EXECUTING DEQUEUED',
        'PENDING_EXECUTING EXECUTING',
        'PENDING_EXECUTING WAITING',
        'QUEUED QUEUED',
        'QUEUED WAITING',
        'QUEUED_EXECUTING EXECUTING',
        'RUN_CREATED PENDING_VERSION',
        'SUSPENDED WAITING']);
END $$;

CREATE OR REPLACE FUNCTION is_move(text, text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce($1, '') || ' ' || coalesce($2, '') || ' ' || coalesce($3, '') = ANY (ARRAY[
        ' TRIGGER QUEUED',
        ' TRIGGER_DELAYED DELAYED',
        ' TRIGGER_UNVERSIONED RUN_CREATED',
        'DELAYED CANCEL FINISHED',
        'DELAYED DUE QUEUED',
        'EXECUTING BLOCK EXECUTING_WITH_WAITPOINTS',
        'EXECUTING CANCEL PENDING_CANCEL',
        'EXECUTING FAIL FINISHED',
        'EXECUTING HAND_BACK QUEUED',
        'EXECUTING RETRY_LATER DELAYED',
        'EXECUTING RETRY_NOW PENDING_EXECUTING',
        'EXECUTING SUCCEED FINISHED',
        'EXECUTING SUSPEND SUSPENDED',
        'EXECUTING_WITH_WAITPOINTS CANCEL PENDING_CANCEL',
        'EXECUTING_WITH_WAITPOINTS FAIL FINISHED',
        'EXECUTING_WITH_WAITPOINTS HAND_BACK QUEUED',
        'EXECUTING_WITH_WAITPOINTS RETRY_LATER DELAYED',
        'EXECUTING_WITH_WAITPOINTS SUCCEED FINISHED',
        'EXECUTING_WITH_WAITPOINTS SUSPEND SUSPENDED',
        'EXECUTING_WITH_WAITPOINTS UNBLOCK_QUEUED QUEUED_EXECUTING',
        'PENDING_CANCEL CANCEL_ACKNOWLEDGED FINISHED',
        'PENDING_EXECUTING CANCEL PENDING_CANCEL',
        'PENDING_EXECUTING CONTINUE EXECUTING',
        'PENDING_EXECUTING FAIL FINISHED',
        'PENDING_EXECUTING REQUEUE QUEUED',
        'PENDING_EXECUTING RETRY_LATER DELAYED',
        'PENDING_EXECUTING START EXECUTING',
        'QUEUED CANCEL FINISHED',
        'QUEUED DEQUEUE PENDING_EXECUTING',
        'QUEUED EXPIRE FINISHED',
        'QUEUED FAIL FINISHED',
        'QUEUED VERSION_MISSING RUN_CREATED',
        'QUEUED_EXECUTING CANCEL PENDING_CANCEL',
        'QUEUED_EXECUTING FAIL FINISHED',
        'QUEUED_EXECUTING HAND_BACK QUEUED',
        'QUEUED_EXECUTING READMIT EXECUTING',
        'QUEUED_EXECUTING RETRY_LATER DELAYED',
        'QUEUED_EXECUTING SUCCEED FINISHED',
        'RUN_CREATED CANCEL FINISHED',
        'RUN_CREATED EXPIRE FINISHED',
        'RUN_CREATED VERSION_FOUND QUEUED',
        'RUN_CREATED VERSION_FOUND_DELAYED DELAYED',
        'SUSPENDED CANCEL FINISHED',
        'SUSPENDED RESUME QUEUED']);
END $$;
