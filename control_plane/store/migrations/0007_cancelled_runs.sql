-- The sweep looks for runs that live though what triggered them was cancelled, from the cancelled ones on.

CREATE INDEX runs_cancelled ON runs (updated_at) WHERE status = 'CANCELED';
