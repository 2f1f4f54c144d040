-- A request that made a key and is sent again within a day is answered with the same one: its secret, sealed, for so long.

ALTER TABLE api_keys
    ADD COLUMN request_key text,
    ADD COLUMN request_sealed text,
    ADD CONSTRAINT api_keys_request CHECK ((request_key IS NULL) = (request_sealed IS NULL));
CREATE UNIQUE INDEX api_keys_by_request ON api_keys (environment_id, request_key) WHERE request_key IS NOT NULL;
