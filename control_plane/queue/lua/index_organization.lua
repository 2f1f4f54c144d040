-- An organization has work that could start now (1), or has none (0). The dispatcher is woken when it has.
-- KEYS: orgs, rest, clock, the dispatcher's wake list. ARGV: organization, 1 or 0
-- Answers 1. Invariant: entering again, it stands at max(its own time, the clock).
local clock = tonumber(redis.call('GET', KEYS[3]) or '0')
if ARGV[2] == '1' then
  if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
    local vt = math.max(tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0'), clock)
    redis.call('ZADD', KEYS[1], string.format('%.17g', vt), ARGV[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
  end
  if redis.call('EXISTS', KEYS[4]) == 0 then redis.call('RPUSH', KEYS[4], 1) end
else
  local vt = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if vt and tonumber(vt) > clock then redis.call('ZADD', KEYS[2], vt, ARGV[1]) end
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.17g', clock))
end
return 1
