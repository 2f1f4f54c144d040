-- What is said of queues while code is deployed: a limit in place of the declared one, which is kept to go back to. With
-- `override_percent` it is that part of the environment's, whatever that is at the time.

ALTER TABLE queues
    ADD COLUMN override_limit int CHECK (override_limit BETWEEN 0 AND 100000),
    ADD COLUMN override_percent double precision CHECK (override_percent > 0 AND override_percent <= 100),
    ADD COLUMN overridden_at timestamptz,
    ADD CONSTRAINT queues_one_override CHECK (num_nonnulls(override_limit, override_percent) <= 1),
    ADD CONSTRAINT queues_overridden CHECK (
        (overridden_at IS NOT NULL) = (num_nonnulls(override_limit, override_percent) = 1));

-- How many runs of a queue, or of each of its keys, may start: {"limit", "seconds", "burst"}.
ALTER TABLE queues
    ADD COLUMN rate jsonb CHECK (jsonb_typeof(rate) = 'object'),
    ADD COLUMN key_rate jsonb CHECK (jsonb_typeof(key_rate) = 'object');
CREATE INDEX queues_rated ON queues (environment_id) WHERE rate IS NOT NULL OR key_rate IS NOT NULL;

-- Runs that are delayed can be given another date. Drawn from domain/lifecycle.py; a test compares them.

CREATE OR REPLACE FUNCTION is_move(text, text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce($1, '') || ' ' || coalesce($2, '') || ' ' || coalesce($3, '') = ANY (ARRAY[
        ' TRIGGER QUEUED',
        ' TRIGGER_DELAYED DELAYED',
        ' TRIGGER_FAILED FINISHED',
        ' TRIGGER_UNVERSIONED RUN_CREATED',
        'DELAYED CANCEL FINISHED',
        'DELAYED DUE QUEUED',
        'DELAYED RESCHEDULE DELAYED',
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
