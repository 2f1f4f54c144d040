-- The warm path in one step: an executor's run is over, and it takes its next one or is parked.
--
-- KEYS  the organization's prefix
-- ARGV  as dequeue.lua, but [6] is the run that is over, or '', and the lanes follow
-- Gives nil when not ready, else {due, runs handed over, cost of each, run, leaf, score} or without the last three.
-- Invariant: the executor has the first claim on the slot that it frees; what it leaves goes to other idle ones.
local now, lease, done = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[6]

local state, capacity, cost = organization()
if state ~= 'ready' then
  return nil
end
if done ~= '' then
  forget(done, capacity, false)
end
local taken = dequeue(capacity, 7)
local due, count, each = report(capacity, cost, woke and hand_over(nil, 1, capacity, now, lease) or {})
if taken then
  return { due, count, each, taken.run, taken.node.leaf, taken.score }
end
return { due, count, each }
