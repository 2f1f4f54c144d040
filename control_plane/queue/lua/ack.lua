-- A run is done with the queue: out of everything. Its slots may let others go on.
-- KEYS[1] prefix. ARGV: now, lease, run, the lease that it was seen with ('' for any, 'none' for no lease)
-- Answers NOTREADY, or 1 when work is left that could start now, else 0.
-- Invariant: an unknown run changes nothing, nor does one with another lease.
if not ready() then return 'NOTREADY' end
if lease_is(ARGV[3], ARGV[4]) then
  local at, was_full = forget(ARGV[3])
  if at then pass_on(at[1], was_full, tonumber(ARGV[1]), tonumber(ARGV[2])) end
end
return eligible()
