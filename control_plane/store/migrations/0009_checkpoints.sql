-- Frozen processes: a run's checkpoint, where it is kept, and how it came and went.
-- The image itself is in the object store under checkpoints/<environment>/<run>/<id>; its key is here alone, sealed. A row
-- that is GONE has no key any more, so that whatever is left of the image anywhere cannot be read.

CREATE TABLE checkpoints (
    id text PRIMARY KEY,
    run_id text NOT NULL,
    organization_id text NOT NULL,
    environment_id text NOT NULL,
    executor_id text NOT NULL,                               -- whose process it is of: it alone may store and record it
    attempt int NOT NULL,
    snapshot int NOT NULL,                                   -- where the run stood when it was begun, and has to stand still
    status text NOT NULL CHECK (status IN ('BEGUN', 'STORED', 'RECORDED', 'GONE')),
    node_type text NOT NULL,                                 -- it is thawed on nodes of this type alone
    context text NOT NULL,                                   -- associated data of the image's encryption
    key_sealed text,
    stored_bytes bigint,                                     -- as the object store has it
    image_bytes bigint,                                      -- of the process: memory, files, before it was compressed
    freeze_ms bigint,
    store_ms bigint,
    thaw_ms bigint,
    created_at timestamptz NOT NULL,
    stored_at timestamptz,
    recorded_at timestamptz,                                 -- the run was suspended with it
    thawed_at timestamptz,                                   -- the run went on from it
    gone_at timestamptz,
    removed_at timestamptz,                                  -- nothing is left of it in the object store
    CHECK ((key_sealed IS NULL) = (status = 'GONE')),
    CHECK ((gone_at IS NULL) = (status <> 'GONE')),
    CHECK (status NOT IN ('STORED', 'RECORDED') OR stored_bytes IS NOT NULL),
    CHECK (status <> 'RECORDED' OR recorded_at IS NOT NULL),
    CHECK (removed_at IS NULL OR status = 'GONE')
);
CREATE INDEX checkpoints_run ON checkpoints (run_id);
CREATE INDEX checkpoints_live ON checkpoints (run_id) WHERE status <> 'GONE';
CREATE INDEX checkpoints_unused ON checkpoints (created_at) WHERE status IN ('BEGUN', 'STORED');
CREATE INDEX checkpoints_to_remove ON checkpoints (gone_at) WHERE status = 'GONE' AND removed_at IS NULL;
CREATE INDEX checkpoints_removed ON checkpoints (removed_at) WHERE removed_at IS NOT NULL;

ALTER TABLE runs
    ADD COLUMN checkpoint_id text,                           -- what it goes on from; then the node type that it needs
    ADD COLUMN frozen_on text,
    ADD COLUMN alive_reason text,                            -- why it waits in memory, where it would be frozen otherwise
    ADD COLUMN frozen_ms bigint NOT NULL DEFAULT 0,          -- how long no process of it was there while it waited
    ADD CONSTRAINT runs_frozen CHECK ((checkpoint_id IS NULL) = (frozen_on IS NULL)
        AND (checkpoint_id IS NULL OR snapshot_status IN ('SUSPENDED', 'QUEUED', 'PENDING_EXECUTING')));

-- Interpreter build, libraries, kernel and processor of an executor's node, in short, as it tells itself.
ALTER TABLE executors ADD COLUMN node_type text;
CREATE INDEX executors_node_type ON executors (cluster, node_type) WHERE node_type IS NOT NULL;

-- Whether runs of a task may be frozen at all; absent: they may.
ALTER TABLE tasks ADD COLUMN may_freeze boolean;
