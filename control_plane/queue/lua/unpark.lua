-- An executor waits no longer.
-- KEYS[1] prefix. ARGV: executor
-- Answers 1. Invariant: a run that it was handed before is on its channel already.
no_longer_idle(ARGV[1])
return 1
