-- Finding runs, acting on many of them, and the variables of environments.

-- What runs are filtered by, apart from their rows: those are written at every move, and each move would write each of their
-- indexes again. A facet is written once, when it becomes known, and its key's order is the list's: by id, newest last.
--
-- key: of a value (a task, queue, machine, region, version's id, schedule or tag; of a test run "true") in an environment, hashed
--      to be short. Two values may have the same one: whoever reads looks at the run itself, too.
-- Invariant: a run that is there has these rows and no others; triggers see to it, whoever writes the run.
CREATE TABLE run_facets (
    key bigint NOT NULL,
    run_id text NOT NULL,
    PRIMARY KEY (key, run_id)
);

-- Of a value, an environment and the facet's name.
CREATE FUNCTION facet_key(text, text, text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT hashtextextended($2 || ' ' || $3 || ' ' || $1, 0)
$$;

CREATE FUNCTION facets_of(runs) RETURNS TABLE (key bigint) LANGUAGE sql IMMUTABLE AS $$
    SELECT facet_key(f.value, $1.environment_id, f.facet)
    FROM (VALUES ('task', $1.task), ('queue', $1.queue), ('machine', $1.machine), ('region', $1.region),
        ('version', $1.version_id), ('schedule', $1.schedule_id), ('test', CASE WHEN $1.is_test THEN 'true' END)
    ) AS f (facet, value)
    WHERE f.value IS NOT NULL
    UNION SELECT facet_key(t, $1.environment_id, 'tag') FROM unnest($1.tags) AS t
$$;

CREATE FUNCTION add_facets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_facets (key, run_id) SELECT f.key, r.id FROM fresh r, facets_of(r) f ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_facets_added AFTER INSERT ON runs REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION add_facets();

CREATE FUNCTION remove_facets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_facets x USING gone r, facets_of(r) f WHERE x.key = f.key AND x.run_id = r.id;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_facets_removed AFTER DELETE ON runs REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION remove_facets();

CREATE FUNCTION change_facets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_facets x USING (SELECT key FROM facets_of(OLD) EXCEPT SELECT key FROM facets_of(NEW)) f
    WHERE x.key = f.key AND x.run_id = OLD.id;
    INSERT INTO run_facets (key, run_id)
    SELECT f.key, NEW.id FROM (SELECT key FROM facets_of(NEW) EXCEPT SELECT key FROM facets_of(OLD)) f
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_facets_changed AFTER UPDATE ON runs FOR EACH ROW
    WHEN ((OLD.version_id, OLD.machine, OLD.queue, OLD.tags, OLD.region, OLD.task, OLD.schedule_id, OLD.is_test) IS DISTINCT FROM
        (NEW.version_id, NEW.machine, NEW.queue, NEW.tags, NEW.region, NEW.task, NEW.schedule_id, NEW.is_test))
    EXECUTE FUNCTION change_facets();

-- Runs that are there get theirs page by page after this is committed, as nobody can write runs before. This says down to
-- which id they have them, and is dropped when all do; until then no server says that it is ready.
CREATE TABLE facet_filling (reached text NOT NULL);
INSERT INTO facet_filling VALUES ('');

-- Bulk actions: what is done to many runs in the background, a page at a time.
--
-- `page`: the runs that are acted on now, written down before, since what is done to them changes what the filter finds.
-- `reached`: the id down to which runs were acted on, from the newest to the oldest; it moves on by compare-and-set together
-- with the counts, so that each page counts once, however often it is begun.
-- Invariant: either `filter` or `run_ids` says which runs; only those that were there when the action was made.
CREATE TABLE bulk_actions (
    id text PRIMARY KEY,
    organization_id text NOT NULL,
    environment_id text NOT NULL REFERENCES environments,
    type text NOT NULL CHECK (type IN ('CANCEL', 'REPLAY')),
    status text NOT NULL CHECK (status IN ('PENDING', 'COMPLETED', 'ABORTED')),
    name text,
    region text,                                             -- where replays go, if not where the runs went
    filter jsonb,
    run_ids text[],
    upto text NOT NULL,                                      -- runs with a higher id are younger than the action
    reached text,
    page text[],
    total bigint,                                            -- NULL: not counted yet
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    request_key text,
    created_at timestamptz NOT NULL,
    completed_at timestamptz,
    CHECK ((filter IS NULL) <> (run_ids IS NULL)),
    CHECK ((completed_at IS NULL) = (status = 'PENDING'))
);
CREATE INDEX bulk_actions_newest ON bulk_actions (environment_id, id);
CREATE INDEX bulk_actions_at_work ON bulk_actions (id) WHERE status = 'PENDING' OR page IS NOT NULL;
CREATE INDEX bulk_actions_over ON bulk_actions (environment_id, completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX bulk_actions_request ON bulk_actions (environment_id, request_key) WHERE request_key IS NOT NULL;

-- The runs that an action has cancelled, or has made as replays.
CREATE TABLE bulk_action_runs (
    bulk_action_id text NOT NULL REFERENCES bulk_actions ON DELETE CASCADE,
    run_id text NOT NULL,
    PRIMARY KEY (bulk_action_id, run_id)
);
CREATE INDEX bulk_action_runs_run ON bulk_action_runs (run_id);

-- Variables that runs of an environment get. A value is sealed with the server's master key, for its environment and name.
CREATE TABLE environment_variables (
    environment_id text NOT NULL REFERENCES environments,
    name text NOT NULL,
    sealed text NOT NULL,
    bytes int NOT NULL CHECK (bytes >= 0),                   -- of the value, so that limits need not open it
    is_secret boolean NOT NULL,                              -- shown to nobody but runs; never undone
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (environment_id, name)
);

-- step: concurrently
-- A status changes with nearly every move: there is nothing to be gained by writing it elsewhere.
CREATE INDEX CONCURRENTLY runs_status ON runs (environment_id, status, id);
