-- Batches: runs that are asked for together, their items sent in one request or in several.
--
-- A batch is sealed with the item that makes it whole, in one transaction; each item is there once, whoever sends it again.

CREATE TABLE batches (
    id text PRIMARY KEY,
    organization_id text NOT NULL,
    environment_id text NOT NULL REFERENCES environments,
    status text NOT NULL CHECK (status IN ('PENDING', 'PROCESSING', 'PARTIAL_FAILED', 'COMPLETED', 'ABORTED')),
    run_count int NOT NULL CHECK (run_count > 0),
    items int NOT NULL DEFAULT 0,                            -- stored so far
    failed int NOT NULL DEFAULT 0,                           -- of these, what could not be triggered
    parent_run_id text,
    idempotency_key text,                                    -- while it holds
    idempotency_expires_at timestamptz,
    idempotency_options jsonb,
    request_key text,                                        -- the HTTP request that made it, so that a retry finds it
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    sealed_at timestamptz,
    completed_at timestamptz,                                -- its runs are over, or it was given up
    CONSTRAINT batches_items CHECK (items BETWEEN 0 AND run_count AND failed BETWEEN 0 AND items),
    CONSTRAINT batches_sealed CHECK ((sealed_at IS NOT NULL) = (items = run_count)),
    CONSTRAINT batches_completed CHECK ((completed_at IS NOT NULL) = (status IN ('COMPLETED', 'ABORTED')))
);
CREATE UNIQUE INDEX batches_idempotency ON batches (environment_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX batches_request ON batches (environment_id, request_key) WHERE request_key IS NOT NULL;
CREATE INDEX batches_unsealed ON batches (updated_at) WHERE status = 'PENDING';
CREATE INDEX batches_open ON batches (id) WHERE status IN ('PROCESSING', 'PARTIAL_FAILED');
CREATE INDEX batches_over ON batches (environment_id, completed_at) WHERE completed_at IS NOT NULL;

-- Which run an item became. `cached`: its idempotency key led to one that was there before, of this batch or not.
CREATE TABLE batch_items (
    batch_id text NOT NULL REFERENCES batches ON DELETE CASCADE,
    position int NOT NULL CHECK (position >= 0),
    run_id text NOT NULL,
    cached boolean NOT NULL,
    failed boolean NOT NULL,
    PRIMARY KEY (batch_id, position)
);
CREATE INDEX batch_items_cached ON batch_items (batch_id, position) WHERE cached;
CREATE INDEX batch_items_failed ON batch_items (batch_id, position) WHERE failed;

ALTER TABLE runs ADD COLUMN batch_id text;
CREATE INDEX runs_batch ON runs (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX runs_batch_live ON runs (batch_id) WHERE batch_id IS NOT NULL AND snapshot_status <> 'FINISHED';

-- Drawn from domain/lifecycle.py: what cannot be triggered fails without an attempt.
CREATE OR REPLACE FUNCTION is_move(text, text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce($1, '') || ' ' || coalesce($2, '') || ' ' || coalesce($3, '') = ANY (ARRAY[
        ' TRIGGER QUEUED',
        ' TRIGGER_DELAYED DELAYED',
        ' TRIGGER_FAILED FINISHED',
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
