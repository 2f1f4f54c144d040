-- An organization has no work that could start now.
-- KEYS: orgs, rest, clock. ARGV: organization
-- Answers 1. Invariant: its virtual time is remembered while it is ahead of the clock.
local clock = tonumber(redis.call('GET', KEYS[3]) or '0')
local vt = redis.call('ZSCORE', KEYS[1], ARGV[1])
if vt and tonumber(vt) > clock then redis.call('ZADD', KEYS[2], vt, ARGV[1]) end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.17g', clock))
return 1
