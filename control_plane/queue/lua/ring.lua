-- Wakes a service at its next look, or now if it waits.
--
-- KEYS  the service's list
-- ARGV  none
-- Gives 1 when it was not rung for yet, else 0. Invariant: the list has at most one element.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('LPUSH', KEYS[1], '1')
return 1
