-- A run of this organization was taken: its virtual time grows by 1/weight.
-- KEYS: orgs, rest, clock, weights. ARGV: organization
-- Answers 1. Invariant: an organization that is not in the index is charged where it rests.
local weight = tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or '1')
local clock = tonumber(redis.call('GET', KEYS[3]) or '0')
local vt = redis.call('ZSCORE', KEYS[1], ARGV[1])
if vt then
  if tonumber(vt) > clock then redis.call('SET', KEYS[3], vt) end
  redis.call('ZADD', KEYS[1], string.format('%.17g', tonumber(vt) + 1 / weight), ARGV[1])
else
  local rested = math.max(tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0'), clock)
  redis.call('ZADD', KEYS[2], string.format('%.17g', rested + 1 / weight), ARGV[1])
end
return 1
