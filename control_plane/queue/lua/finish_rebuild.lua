-- The organization's state is complete: its scripts may answer again, and executors that waited meanwhile get their runs.
-- KEYS[1] prefix. ARGV: now, lease
-- Answers 1 when work waits that could start now, else 0.
call('SET', P .. 'ready', 1)
hand_over_all(tonumber(ARGV[1]), tonumber(ARGV[2]))
return eligible()
