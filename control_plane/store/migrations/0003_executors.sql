-- Executors on clusters, and the keys by which their allocations prove who they are.
-- A row is written before anything is asked of the cluster, so that whatever comes to live there is known here.
-- Who is told of an end, and whose job is removed, is decided by compare-and-set on this table: several schedulers may look.

CREATE TABLE executors (
    id text PRIMARY KEY,
    organization_id text NOT NULL,
    environment_id text NOT NULL,
    version_id text NOT NULL,
    machine text NOT NULL,
    lane text NOT NULL,
    run_id text,                                             -- the run it was placed for …
    snapshot int,                                            -- … and where that stood: when it has moved on, nobody is admitted
    cluster text NOT NULL,
    namespace text NOT NULL,
    job_id text NOT NULL,                                    -- the parameterized job
    child_job_id text,                                       -- its dispatched child
    allocation_id text,                                      -- the one allocation that may be this executor
    node_id text,
    node_name text,
    placed_at timestamptz NOT NULL,
    admitted_at timestamptz,                                 -- its identity was first swapped for a credential
    running_at timestamptz,                                  -- the cluster first said that it runs
    ended_at timestamptz,
    exit_code int,
    cause text,
    reason text,
    told_at timestamptz,                                     -- its end was told to the engine
    removed_at timestamptz,                                  -- its job was removed from the cluster
    CHECK ((run_id IS NULL) = (snapshot IS NULL)),
    CHECK ((ended_at IS NULL) = (cause IS NULL)),
    CHECK (told_at IS NULL OR ended_at IS NOT NULL),
    CHECK (removed_at IS NULL OR ended_at IS NOT NULL)
);
CREATE INDEX executors_living ON executors (cluster, id) WHERE ended_at IS NULL;
CREATE INDEX executors_untold ON executors (cluster, ended_at) WHERE ended_at IS NOT NULL AND told_at IS NULL;
CREATE INDEX executors_removable ON executors (cluster, ended_at) WHERE ended_at IS NOT NULL AND removed_at IS NULL;
CREATE INDEX executors_job ON executors (job_id);
CREATE INDEX executors_removed ON executors (removed_at) WHERE removed_at IS NOT NULL;

-- Public keys of clusters, as their JWKS has them. The scheduler fetches them; the control plane only reads.
CREATE TABLE cluster_keys (
    cluster text NOT NULL,
    kid text NOT NULL,
    jwk jsonb NOT NULL,
    fetched_at timestamptz NOT NULL,
    PRIMARY KEY (cluster, kid)
);
CREATE INDEX cluster_keys_kid ON cluster_keys (kid);
