-- What triggers may ask for beside a run: to be put off with others of the same key (debounce), a payload that lies in the
-- object store, code of a deployment that its deployer has named.

-- The run that a task's debounce key leads to, for as long as that run waits. `name`: the digest of task and key.
CREATE TABLE debounces (
    environment_id text NOT NULL REFERENCES environments,
    name text NOT NULL CHECK (name ~ '^[0-9a-f]{64}$'),
    run_id text NOT NULL,
    first_at timestamptz NOT NULL,                           -- when the run was triggered: `maxDelay` counts from it
    requests text[] NOT NULL DEFAULT '{}',                   -- the newest that were answered with a run: "<request key> <run>"
    PRIMARY KEY (environment_id, name)
);
CREATE INDEX debounces_run ON debounces (run_id);

-- An index holds 2,704 bytes a row, which a task's name and a key of the allowed length pass: so it holds the key's digest.
CREATE FUNCTION key_digest(text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN sha256(convert_to($1, 'UTF8'));
END $$;

-- step: concurrently
CREATE UNIQUE INDEX CONCURRENTLY runs_idempotency_digest ON runs (environment_id, task, key_digest(idempotency_key))
    WHERE idempotency_key IS NOT NULL;

-- Payloads and outputs of type application/store are names of objects; a sweep asks which objects no run has.
CREATE INDEX CONCURRENTLY runs_stored_payload ON runs (payload) WHERE payload_type = 'application/store';
CREATE INDEX CONCURRENTLY runs_stored_output ON runs (output) WHERE output_type = 'application/store';

-- step
DROP INDEX runs_idempotency;
ALTER INDEX runs_idempotency_digest RENAME TO runs_idempotency;

-- Names that a run has lost: what is there is removed by and by, unless another run has the name, too.
CREATE TABLE gone_packets (
    name text PRIMARY KEY
);

-- What a deployer calls a version: a commit, a release. The newest one of a name counts.
ALTER TABLE versions ADD COLUMN external_id text;
CREATE INDEX versions_external ON versions (environment_id, external_id, id) WHERE external_id IS NOT NULL;
-- A run that asked for one that is not there yet waits for it.
ALTER TABLE runs ADD COLUMN external_deployment_id text;

-- The number of the last call of an executor about a run's metadata: one that is repeated changes nothing.
ALTER TABLE runs ADD COLUMN metadata_call bigint;
-- The newest requests that changed it from elsewhere: one whose answer was lost, and that is sent again, counts once.
ALTER TABLE runs ADD COLUMN metadata_requests text[];
