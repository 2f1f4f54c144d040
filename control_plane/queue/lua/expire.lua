-- Lists runs in flight whose lease lapsed, longest ago first, and gives each one lease more.
--
-- KEYS  the organization's prefix
-- ARGV  now and lease in ms · how many at most
-- Gives nil when not ready, else {due, run …}.
-- Invariant: a run stays in flight with its slots until the caller has asked the store; no two callers get it at once.
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])

local state, capacity = organization()
if state ~= 'ready' then
  return nil
end
local runs = call('ZRANGEBYSCORE', INFLIGHT, '-inf', now, 'LIMIT', 0, ARGV[3])
for _, run in ipairs(runs) do
  call('ZADD', INFLIGHT, now + lease, run)
end
table.insert(runs, 1, is_due(capacity) and 1 or 0)
return runs
