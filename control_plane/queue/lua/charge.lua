-- Charges organizations for runs that were taken.
--
-- KEYS  ring and rest of organizations
-- ARGV  organization, cost of all its runs …
-- Gives 1. Invariant: none enters or leaves the ring; one that is not in it owes its turns when it comes back.
for i = 1, #ARGV, 2 do
  local child, cost = ARGV[i], tonumber(ARGV[i + 1])
  local first = head(KEYS[1])
  if call('ZSCORE', KEYS[1], child) then
    serve(KEYS[1], KEYS[2], child, cost, true, first)
  elseif first[1] then
    local rested = tonumber(call('ZSCORE', KEYS[2], child)) or 0
    call('ZADD', KEYS[2], math.max(rested, clock_of(KEYS[2])) + cost, child)
  end
end
return 1
