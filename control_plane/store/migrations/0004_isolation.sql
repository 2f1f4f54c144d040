-- What runs are kept in on an executor, as it tells with its first request: sandbox, a driver's own isolation, none.

ALTER TABLE executors ADD COLUMN isolation text;
