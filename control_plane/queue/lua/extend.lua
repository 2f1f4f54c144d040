-- Gives runs in flight a new lease.
--
-- KEYS  the organization's prefix
-- ARGV  until when (ms) · runs
-- Gives nil when not ready, else 1. Invariant: a run that is not in flight is left as it is.
if organization() ~= 'ready' then
  return nil
end
for i = 2, #ARGV do
  call('ZADD', INFLIGHT, 'XX', ARGV[1], ARGV[i])
end
return 1
