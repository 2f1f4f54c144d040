-- Takes the next run, or parks the executor that asks.
--
-- KEYS  the organization's prefix
-- ARGV  now and lease in ms · executor or '' · idle until (ms, 0: do not park) · count of lanes, -1 for any · the lanes ·
--       lanes to skip
-- Gives nil when not ready, {run, leaf, score, cost} for a run, {due} for none.
-- Invariant: a run that is given is in flight with a lease and holds all its slots.
local state, capacity, cost = organization()
if state ~= 'ready' then
  return nil
end
local taken = dequeue(capacity, 6)
if taken then
  return { taken.run, taken.node.leaf, taken.score, string.format('%.17g', cost) }
end
return { is_due(capacity) and 1 or 0 }
