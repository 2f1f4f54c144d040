-- Rates that deployed code declares; those that are given while it is deployed (`rate`, `key_rate`) hold in their place.

ALTER TABLE queues
    ADD COLUMN declared_rate jsonb CHECK (jsonb_typeof(declared_rate) = 'object'),
    ADD COLUMN declared_key_rate jsonb CHECK (jsonb_typeof(declared_key_rate) = 'object');
DROP INDEX queues_rated;
CREATE INDEX queues_rated ON queues (environment_id)
    WHERE coalesce(rate, declared_rate, key_rate, declared_key_rate) IS NOT NULL;
