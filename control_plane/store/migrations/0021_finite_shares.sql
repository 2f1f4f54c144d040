-- Weights and bursts are numbers: NaN, which is more than all others, and infinity passed the checks of before, and nothing
-- of their organization, or of any, could be queued by them. Where one is, what everybody begins with is put in its place.

UPDATE organizations SET weight = 1 WHERE weight >= 'infinity';
UPDATE environments SET weight = 1 WHERE weight >= 'infinity';
UPDATE environments SET burst = 1 WHERE burst >= 'infinity';
UPDATE queues SET weight = 1 WHERE weight >= 'infinity';

ALTER TABLE organizations ADD CONSTRAINT organizations_finite CHECK (weight < 'infinity');
ALTER TABLE environments ADD CONSTRAINT environments_finite CHECK (weight < 'infinity' AND burst < 'infinity');
ALTER TABLE queues ADD CONSTRAINT queues_finite CHECK (weight < 'infinity');
