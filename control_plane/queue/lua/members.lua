-- Says of each run whether it waits ('waiting'), is in flight ('inflight'), or is unknown ('').
--
-- KEYS  the organization's prefix
-- ARGV  runs
-- Gives nil when not ready, else a state for each. Reads only.
if organization() ~= 'ready' then
  return nil
end
local states = {}
for i, run in ipairs(ARGV) do
  if call('ZSCORE', INFLIGHT, run) then
    states[i] = 'inflight'
  else
    states[i] = call('HEXISTS', ITEMS, run) == 1 and 'waiting' or ''
  end
end
return states
