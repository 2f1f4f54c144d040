-- The organization's state is complete: its scripts may answer again.
-- KEYS[1] prefix. Answers 1 when work waits that could start now, else 0.
call('SET', P .. 'ready', 1)
return eligible()
