-- Says whether the organization could serve a run now.
--
-- KEYS  the organization's prefix
-- ARGV  none
-- Gives 1 or 0; 0 when not ready. Reads only.
local state, capacity = organization()
return state == 'ready' and is_due(capacity) and 1 or 0
