-- Gives waiting runs to idle executors that could have them.
--
-- KEYS  the organization's prefix
-- ARGV  now and lease in ms · how many at most
-- Gives nil when not ready, else {due, runs handed over, cost of each}; when as many as asked were, there may be more.
-- Invariant: as dequeue.lua; the executor was listening when the run was given to it.
local now, lease, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local state, capacity, cost = organization()
if state ~= 'ready' then
  return nil
end
woke = true
return { report(capacity, cost, hand_over(nil, most, capacity, now, lease)) }
