-- Schedules, and which runs are theirs.
-- `next_tick`: the moment that the expression names next; `due_at`: when the schedule is looked at for it, which a window makes
-- later, and a run that it must wait for as well (`held`). Both are NULL while the schedule is not active.
-- `last_tick`: the newest one that became a run. `phase`: the schedule's place in its window.
-- Invariant: a tick of a schedule is one run at most, whoever makes it and however often.

CREATE TABLE schedules (
    id text PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations,
    environment_id text NOT NULL REFERENCES environments,
    type text NOT NULL CHECK (type IN ('DECLARATIVE', 'IMPERATIVE')),
    task text NOT NULL,
    cron text NOT NULL,
    timezone text NOT NULL,
    time_window text,
    phase bigint NOT NULL CHECK (phase BETWEEN 0 AND 2147483647),
    overlap text NOT NULL CHECK (overlap IN ('allow', 'skip', 'queue', 'replace')),
    catch_up text NOT NULL CHECK (catch_up IN ('none', 'last', 'all')),
    external_id text,
    deduplication_key text,                                  -- NULL: the deployed code declares it, one for a task
    active boolean NOT NULL DEFAULT true,
    next_tick timestamptz,
    due_at timestamptz,
    held boolean NOT NULL DEFAULT false,
    last_tick timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (environment_id, deduplication_key),
    CHECK ((type = 'IMPERATIVE') = (deduplication_key IS NOT NULL)),
    CHECK (active OR due_at IS NULL),
    CHECK ((next_tick IS NULL) = (due_at IS NULL))
);
CREATE UNIQUE INDEX schedules_declared ON schedules (environment_id, task) WHERE type = 'DECLARATIVE';
CREATE INDEX schedules_newest ON schedules (environment_id, id DESC);
CREATE INDEX schedules_due ON schedules (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX schedules_held ON schedules (due_at) WHERE held;

ALTER TABLE runs ADD COLUMN schedule_id text, ADD COLUMN scheduled_at timestamptz;
CREATE UNIQUE INDEX runs_tick ON runs (schedule_id, scheduled_at) WHERE schedule_id IS NOT NULL;
CREATE INDEX runs_live_of_schedule ON runs (schedule_id)
    WHERE schedule_id IS NOT NULL AND snapshot_status <> 'FINISHED';

ALTER TABLE tasks ADD COLUMN schedule jsonb;                 -- as the manifest has it
