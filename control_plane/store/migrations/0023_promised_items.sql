-- How many items are still to come to an organization's batches is asked at every moment in which something is triggered.

-- step: concurrently
CREATE INDEX CONCURRENTLY batches_promised ON batches (organization_id) WHERE status = 'PENDING';
