-- Where a run is to go, and where an executor is: `default` is the cluster, or the machine, that was there before regions.
-- What ran before this migration goes on: its lanes and credentials name no region, which means the same.

ALTER TABLE runs ADD COLUMN region text NOT NULL DEFAULT 'default';
ALTER TABLE executors ADD COLUMN region text NOT NULL DEFAULT 'default';
