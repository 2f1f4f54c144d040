-- Adds a run that is due; hands one over at once if an idle executor of its lane can have it.
--
-- KEYS  the organization's prefix
-- ARGV  now and lease in ms · run · leaf · score
-- Gives nil when not ready, else {executor the run was handed to or '', due, runs handed over, cost of each}.
-- Invariant: a run that is known, waiting or in flight, is left as it is.
local now, lease, run, leaf, score = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]

local state, capacity, cost = organization()
if state ~= 'ready' then
  return nil
end
local handed, executor = {}, ''
if call('HSETNX', ITEMS, run, score .. '|' .. leaf) == 1 then
  local node = split(leaf)
  add_waiting(node, run, score, limits_of(node.environment, node.queue))
  handed = hand_over(node.lane, 1, capacity, now, lease)
  if handed[1] and handed[1][1] == run then
    executor = handed[1][2]
  end
end
return { executor, report(capacity, cost, handed) }
