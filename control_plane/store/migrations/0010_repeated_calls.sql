-- What tells a repeated or overtaken call from a new one.
-- `wait_call`: the highest number that an executor has given a call about this run's waits; one with a lower number is late.
-- `request_key`: under which a client asked for a token, so that asking again makes no second one.

ALTER TABLE runs ADD COLUMN wait_call bigint;

ALTER TABLE waitpoints ADD COLUMN request_key text;
CREATE UNIQUE INDEX waitpoints_request ON waitpoints (environment_id, request_key) WHERE request_key IS NOT NULL;
