-- A run has the facets of its end as soon as it shows it. One that is cancelled shows that from the request on, but is
-- FINISHED only when its executor has stopped it, or was given up; until then no list of cancelled runs had it.
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

DROP TRIGGER runs_facets_changed ON runs;
CREATE TRIGGER runs_facets_changed AFTER UPDATE ON runs FOR EACH ROW
    WHEN ((OLD.version_id, OLD.machine, OLD.queue, OLD.tags, OLD.region, OLD.task, OLD.schedule_id, OLD.is_test) IS DISTINCT FROM
        (NEW.version_id, NEW.machine, NEW.queue, NEW.tags, NEW.region, NEW.task, NEW.schedule_id, NEW.is_test)
        OR NEW.status IN ('FAILED', 'CANCELED', 'CRASHED', 'TIMED_OUT', 'SYSTEM_FAILURE', 'EXPIRED')
        AND (OLD.status, OLD.error) IS DISTINCT FROM (NEW.status, NEW.error))
    EXECUTE FUNCTION change_facets();

-- Nobody writes runs until this is committed; those that are being stopped are few.
INSERT INTO run_facets (key, run_id) SELECT f.key, r.id FROM runs r, facets_of(r) f WHERE r.snapshot_status = 'PENDING_CANCEL'
ON CONFLICT DO NOTHING;
