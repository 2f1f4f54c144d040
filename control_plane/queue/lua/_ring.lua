-- One level of the tree: which child is next. Prepended to the scripts that choose; see domain/tree.py for the rules.
--
-- ring  zset of the children that can serve now, by virtual time
-- rest  zset of children that left with a time ahead of the clock; its member CLOCK is the clock itself (absent: 0)
-- An empty ring has no rest. CLOCK is no possible name of a child: names are percent-encoded.

local call = redis.call
local LAG, CLOCK = 100, '!'
local FORGET_AT_ONCE = 8

-- Lets a child in. Returns whether the ring was empty before, then whether the child is new in it.
local function enter(ring, rest, child)
  if call('ZCARD', ring) == 0 then
    call('ZADD', ring, 0, child)
    return true, true
  end
  local times = call('ZMSCORE', rest, child, CLOCK)
  local time = math.max(tonumber(times[1]) or 0, tonumber(times[2]) or 0)
  if call('ZADD', ring, 'NX', time, child) == 0 then
    return false, false
  end
  if times[1] then
    call('ZREM', rest, child)
  end
  return false, true
end

-- Takes a child out. Returns whether that emptied the ring; false too when the child was not in it.
local function leave(ring, rest, child)
  local time = call('ZSCORE', ring, child)
  if not time then
    return false
  end
  if call('ZCARD', ring) == 1 then
    call('DEL', ring, rest)
    return true
  end
  if tonumber(time) > (tonumber(call('ZSCORE', rest, CLOCK)) or 0) then
    call('ZADD', rest, time, child)
  end
  call('ZREM', ring, child)
  return false
end

-- The clock, after dropping a few of those that rest behind it.
local function clock_of(rest)
  local low = call('ZRANGE', rest, 0, 0, 'WITHSCORES')
  if not low[1] or low[1] == CLOCK then
    return tonumber(low[2]) or 0
  end
  local clock = tonumber(call('ZSCORE', rest, CLOCK)) or 0
  for _, child in ipairs(call('ZRANGEBYSCORE', rest, '-inf', clock, 'LIMIT', 0, FORGET_AT_ONCE)) do
    if child ~= CLOCK then
      call('ZREM', rest, child)
    end
  end
  return clock
end

-- Charges a child for one run; it stays in the ring or leaves it. `first` is the ring's head, two members with times.
-- Returns whether the ring is empty now.
local function serve(ring, rest, child, cost, stays, first)
  if not stays and not first[3] then
    call('DEL', ring, rest)
    return true
  end
  local time = tonumber(first[1] == child and first[2] or call('ZSCORE', ring, child))
  local before = clock_of(rest)
  local clock = math.max(before, tonumber(first[2]), time - LAG)
  if clock > before then
    call('ZADD', rest, clock, CLOCK)
  end
  local after = math.max(time, before) + cost
  if stays then
    call('ZADD', ring, after, child)
  else
    call('ZADD', rest, after, child)
    call('ZREM', ring, child)
  end
  return false
end

local function head(ring)
  return call('ZRANGE', ring, 0, 1, 'WITHSCORES')
end
