-- Pushes the leases of runs in flight.
-- KEYS[1] prefix. ARGV: now, lease, run...
-- Answers NOTREADY, or how many were in flight.
-- Invariant: nothing enters; a run that is not in flight stays out.
if not ready() then return 'NOTREADY' end
local deadline, pushed = tonumber(ARGV[1]) + tonumber(ARGV[2]), 0
for i = 3, #ARGV do
  if call('ZSCORE', P .. 'inflight', ARGV[i]) then
    call('ZADD', P .. 'inflight', deadline, ARGV[i])
    pushed = pushed + 1
  end
end
return pushed
