-- What happened, many things at once: organizations whose runs were taken, organizations with work that could start
-- now, messages to whoever listens. The dispatcher is woken when there is work.
-- KEYS: orgs, rest, clock, weights, the dispatcher's wake list
-- ARGV: JSON [[organization, runs taken], ...], JSON [organization, ...], then channel, message, channel, message, ...
-- Answers 1.
-- Invariants: entering the index again, an organization stands at max(its own time, the clock). One that is not in it is
-- charged where it rests. However long it could not be served, it has at most PATIENCE runs in advance.
local function number(text) return tonumber(text or '0') end
local function text(number_) return string.format('%.17g', number_) end

for _, charge in ipairs(cjson.decode(ARGV[1])) do
  local org, count = charge[1], charge[2]
  local weight = tonumber(redis.call('HGET', KEYS[4], org) or '1')
  local clock = number(redis.call('GET', KEYS[3]))
  local vt = redis.call('ZSCORE', KEYS[1], org)
  if vt then
    local at = math.max(tonumber(vt), clock - PATIENCE / weight)
    redis.call('ZADD', KEYS[1], text(at + count / weight), org)
    -- The clock follows the lowest of those that keep up: one that waits for executors of its own keeps nobody.
    local front = redis.call('ZRANGEBYSCORE', KEYS[1], text(at - PATIENCE / weight), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    local now_at = math.min(at, tonumber(front[2]))
    if now_at > clock then redis.call('SET', KEYS[3], text(now_at)) end
  else
    local rested = math.max(number(redis.call('ZSCORE', KEYS[2], org)), clock)
    redis.call('ZADD', KEYS[2], text(rested + count / weight), org)
  end
end

local due = cjson.decode(ARGV[2])
for _, org in ipairs(due) do
  if not redis.call('ZSCORE', KEYS[1], org) then
    local vt = math.max(number(redis.call('ZSCORE', KEYS[2], org)), number(redis.call('GET', KEYS[3])))
    redis.call('ZADD', KEYS[1], text(vt), org)
    redis.call('ZREM', KEYS[2], org)
  end
end
if #due > 0 and redis.call('EXISTS', KEYS[5]) == 0 then redis.call('RPUSH', KEYS[5], 1) end

for i = 3, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end
return 1
