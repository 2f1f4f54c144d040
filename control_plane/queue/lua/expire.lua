-- Lists runs whose lease lapsed. The caller asks the store what became of them, and nacks, acks or extends each.
-- KEYS[1] prefix. ARGV: now, lease, limit
-- Answers NOTREADY, or the runs; the lease of each is now `now` + `lease`.
-- Invariant: their leases are pushed by one, so that two callers do not both get them.
if not ready() then return 'NOTREADY' end
local now = tonumber(ARGV[1])
local lapsed = call('ZRANGEBYSCORE', P .. 'inflight', '-inf', now, 'LIMIT', 0, tonumber(ARGV[3]))
for _, run in ipairs(lapsed) do call('ZADD', P .. 'inflight', now + tonumber(ARGV[2]), run) end
return lapsed
