-- Gives a run in flight its place back: it waits again and holds no slot.
--
-- KEYS  the organization's prefix
-- ARGV  now and lease in ms · run · score or '' for the one it had
-- Gives nil when not ready, else {due, runs handed over, cost of each}.
-- Invariant: the run is added to its leaf before it leaves its slots. A run that is not in flight is left as it is.
local now, lease, run, score = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]

local state, capacity, cost = organization()
if state ~= 'ready' then
  return nil
end
local item = call('HGET', ITEMS, run)
if item and call('ZSCORE', INFLIGHT, run) then
  local old, leaf = string.match(item, '^([^|]*)|(.*)$')
  local node = split(leaf)
  write_though_full()
  if score ~= '' and score ~= old then
    call('HSET', ITEMS, run, score .. '|' .. leaf)
  else
    score = old
  end
  add_waiting(node, run, score, limits_of(node.environment, node.queue))
  free(node, run, capacity)
end
return { report(capacity, cost, woke and hand_over(nil, 1, capacity, now, lease) or {}) }
