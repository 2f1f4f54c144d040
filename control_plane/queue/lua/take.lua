-- Takes one of an offer.
--
-- KEYS  the offer
-- ARGV  none
-- Gives 1 when there was one left, else 0. Invariant: no more are taken than were offered.
if (tonumber(redis.call('GET', KEYS[1])) or 0) < 1 then
  return 0
end
redis.call('DECR', KEYS[1])
return 1
