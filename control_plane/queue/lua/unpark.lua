-- An executor waits no longer.
-- KEYS[1] prefix. ARGV: executor, the poll that ended or '' for whichever it waits in
-- Answers 1. Invariant: a run that it was handed before is on its channel already.
if ARGV[2] == '' then no_longer_idle(ARGV[1]) else no_longer_idle(ARGV[1], ARGV[2]) end
return 1
