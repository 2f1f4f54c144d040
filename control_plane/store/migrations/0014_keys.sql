-- Keys that may do a part, have a name and an end, and are replaced while the old one still opens; public tokens that
-- work once; tokens of people and of organizations.
-- `replaced_by`: the key that a rotation made in this one's place; this one opens until `expires_at`.

ALTER TABLE api_keys
    ADD COLUMN name text,
    ADD COLUMN scopes text[],                                -- what it may do; NULL: everything
    ADD COLUMN last_used_at timestamptz,                     -- to the minute
    ADD COLUMN replaced_by text,
    ADD CONSTRAINT api_keys_root_may_all CHECK (NOT is_root OR scopes IS NULL),
    ADD CONSTRAINT api_keys_replaced_end CHECK (replaced_by IS NULL OR expires_at IS NOT NULL);
DROP INDEX api_keys_one_root;
CREATE UNIQUE INDEX api_keys_one_root ON api_keys (environment_id)
    WHERE is_root AND revoked_at IS NULL AND replaced_by IS NULL;
CREATE INDEX api_keys_of_environment ON api_keys (environment_id);

-- A public token that works once, by the hash of what its signature covers, from its use to its end.
CREATE TABLE spent_tokens (
    hash text PRIMARY KEY,
    environment_id text NOT NULL REFERENCES environments,
    request_key text,                                        -- the request that used it, so that a retry may
    at timestamptz NOT NULL,                                 -- its use: a request key holds for so long, and no longer
    repeated boolean NOT NULL DEFAULT false,                 -- it did, so that the token is not given back any more
    made text,                                               -- the batch that it made, whose items it may send
    expires_at timestamptz NOT NULL
);
CREATE INDEX spent_tokens_over ON spent_tokens (expires_at);

ALTER TABLE personal_tokens
    ADD COLUMN kind text NOT NULL DEFAULT 'personal' CHECK (kind IN ('personal', 'organization')),
    ADD COLUMN name text,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN last_used_at timestamptz;
CREATE INDEX personal_tokens_of_organization ON personal_tokens (organization_id);
