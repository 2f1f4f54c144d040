-- Takes a run out for good, wherever it is, and gives the slot it frees to an idle executor's next run.
--
-- KEYS  the organization's prefix
-- ARGV  now and lease in ms · run · '1' to do so only if it is in flight (a blocked run that keeps nothing), else ''
-- Gives nil when not ready, else {due, runs handed over, cost of each}.
-- Invariant: nothing of the run stays. An unknown run changes nothing.
local now, lease, run, in_flight_only = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'

local state, capacity, cost = organization()
if state ~= 'ready' then
  return nil
end
forget(run, capacity, in_flight_only)
return { report(capacity, cost, woke and hand_over(nil, 1, capacity, now, lease) or {}) }
