-- The container image that a version's executors run in, where a site's driver is docker; absent: the site's own.

ALTER TABLE versions ADD COLUMN image text;
