-- Runs that did not complete are found by their error, and by their end together with whatever else they are looked for by.
--
-- Most runs complete and get nothing more. One that ended otherwise has each of its facets a second time, with its status
-- behind the facet's name, "task/FAILED", one for the status, and one for each name of its error (code, name, type). A task and
-- the failed runs may both be many and never meet: what they have in common stands in one place so.
-- They are there as soon as the run shows its end: one that is cancelled shows that from the request on, but is FINISHED only
-- when its executor has stopped it, or was given up.
-- A run that calls the hooks of another one has the facet "hook".
CREATE OR REPLACE FUNCTION facets_of(runs) RETURNS TABLE (key bigint) LANGUAGE sql IMMUTABLE AS $$
    SELECT facet_key(f.value, $1.environment_id, f.facet || s.behind)
    FROM (VALUES (''), (CASE WHEN $1.status IN ('FAILED', 'CANCELED', 'CRASHED', 'TIMED_OUT', 'SYSTEM_FAILURE', 'EXPIRED')
        THEN '/' || $1.status END)
    ) AS s (behind)
    CROSS JOIN (
        VALUES ('task', $1.task), ('queue', $1.queue), ('machine', $1.machine), ('region', $1.region),
            ('version', $1.version_id), ('schedule', $1.schedule_id), ('test', CASE WHEN $1.is_test THEN 'true' END),
            ('hook', CASE WHEN $1.hook_of IS NOT NULL THEN 'true' END)
        UNION SELECT 'tag', t FROM unnest($1.tags) AS t
    ) AS f (facet, value)
    WHERE f.value IS NOT NULL AND s.behind IS NOT NULL
    UNION SELECT facet_key(f.value, $1.environment_id, f.facet)
    FROM (VALUES ('status', $1.status),
        ('error', $1.error ->> 'code'), ('error', $1.error ->> 'name'), ('error', $1.error ->> 'type')
    ) AS f (facet, value)
    WHERE f.value IS NOT NULL AND $1.status IN ('FAILED', 'CANCELED', 'CRASHED', 'TIMED_OUT', 'SYSTEM_FAILURE', 'EXPIRED')
$$;

-- What several filters have in common is read from the index alone, for rows that vacuum has seen to be visible to everybody.
-- By default it looks at a table that is only inserted into after a fifth of all its rows; newest runs are asked for most.
ALTER TABLE run_facets SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000);

-- Nearly every run has another version once it is claimed: what it has before and after is made once each.
CREATE OR REPLACE FUNCTION change_facets() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before bigint[] := ARRAY(SELECT key FROM facets_of(OLD));
    after bigint[] := ARRAY(SELECT key FROM facets_of(NEW));
BEGIN
    DELETE FROM run_facets WHERE key = ANY (ARRAY(SELECT k FROM unnest(before) AS k WHERE k <> ALL (after))) AND run_id = OLD.id;
    INSERT INTO run_facets (key, run_id) SELECT k, NEW.id FROM unnest(after) AS k WHERE k <> ALL (before)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

DROP TRIGGER runs_facets_changed ON runs;
CREATE TRIGGER runs_facets_changed AFTER UPDATE ON runs FOR EACH ROW
    WHEN ((OLD.version_id, OLD.machine, OLD.queue, OLD.tags, OLD.region, OLD.task, OLD.schedule_id, OLD.is_test) IS DISTINCT FROM
        (NEW.version_id, NEW.machine, NEW.queue, NEW.tags, NEW.region, NEW.task, NEW.schedule_id, NEW.is_test)
        OR NEW.status IN ('FAILED', 'CANCELED', 'CRASHED', 'TIMED_OUT', 'SYSTEM_FAILURE', 'EXPIRED')
        AND (OLD.status, OLD.error) IS DISTINCT FROM (NEW.status, NEW.error))
    EXECUTE FUNCTION change_facets();

-- Runs that are there get theirs page by page after this is committed; those from before 0016 all that they have.
CREATE TABLE IF NOT EXISTS facet_filling (reached text NOT NULL);
TRUNCATE facet_filling;
INSERT INTO facet_filling VALUES ('');

-- step: facets
