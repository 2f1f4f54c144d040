-- The tree of one organization. Prepended, after _ring.lua, to every script of an organization; see domain/fairness.py.
--
-- KEYS[1] is the prefix of all its keys, hash tag included; the keys are built here and described in keys.py.
-- A leaf's name is <environment>|<version>|<machine>|<queue>|<key>, its first three parts are the lane.
-- Invariant: a child is in its parent's ring if and only if it has room below its limits and something to serve.
-- Additions come first and removals last, since Lua does not roll back.

local P = KEYS[1]
local LIMITS, ITEMS, INFLIGHT, IDLE = P .. 'limits', P .. 'items', P .. 'inflight', P .. 'idle'
local RING, REST, RUNS = P .. 'ring:', P .. 'rest:', P .. 'runs:'
local SLOTS, LANES, PARKED, IDLE_IN = P .. 'slots:', P .. 'lanes:', P .. 'parked:', P .. 'idle:'
local ROOT, ROOT_REST = RING, REST
local HUGE = math.huge
local TRIES = 16
local LANES_AT_ONCE = 100
-- Records of idle executors go by themselves, should nobody do it, this long (ms) after their time.
local FORGOTTEN_AFTER = 3600000

-- Set when a lane, or the whole organization, became able to serve: only then can an idle executor be given a run.
local woke = false

-- The state ('ready', 'building:<token>' or nil), the organization's capacity, its cost of a run.
local function organization()
  local values = call('HMGET', LIMITS, '=state', '=organization')
  local capacity, cost = string.match(values[2] or '', '^(%S+) (%S+)')
  return values[1], tonumber(capacity) or HUGE, tonumber(cost) or 1
end

local function unpack_limits(packed)
  if not packed then
    return HUGE, 1, HUGE
  end
  local capacity, cost, below = string.match(packed, '^(%S+) (%S+) (%S+)')
  return tonumber(capacity) or HUGE, tonumber(cost), tonumber(below) or HUGE
end

local function limits_of(environment, queue)
  local packed = call('HMGET', LIMITS, environment, environment .. '|' .. queue)
  local limits, of_each = {}, nil
  limits.environment, limits.environment_cost, of_each = unpack_limits(packed[1])
  limits.queue, limits.queue_cost, limits.key = unpack_limits(packed[2])
  limits.queue = math.min(limits.queue, of_each)
  return limits
end

local function split(leaf)
  local lane, environment, queue, key = string.match(leaf, '^(([^|]*)|[^|]*|[^|]*)|([^|]*)|(.*)$')
  return { leaf = leaf, lane = lane, environment = environment, queue = queue, key = key,
           of_queue = environment .. '|' .. queue, of_key = environment .. '|' .. queue .. '|' .. key }
end

local function environment_of(lane)
  return string.match(lane, '^[^|]*')
end

local function has_room(name, capacity)
  return capacity == HUGE or call('SCARD', SLOTS .. name) < capacity
end

-- Whether the organization could serve a run now.
local function is_due(capacity)
  return call('EXISTS', ROOT) == 1 and (capacity == HUGE or call('ZCARD', INFLIGHT) < capacity)
end

-- Some commands are refused when memory is full, unless the script has written before: then the queue could not drain.
local function write_though_full()
  call('DEL', P .. 'nothing')
end

-- Opening: something below became able to serve.

local function open_environment(environment)
  enter(ROOT, ROOT_REST, environment)
  woke = true
end

local function open_queue(node, lane, limits)
  if not enter(RING .. lane, REST .. lane, node.queue) then
    return
  end
  local first = enter(RING .. node.environment, REST .. node.environment, lane)
  woke = true
  if first and has_room(node.environment, limits.environment) then
    open_environment(node.environment)
  end
end

local function open_key(node, lane, limits)
  local name = lane .. '|' .. node.queue
  if enter(RING .. name, REST .. name, node.key) then
    call('SADD', LANES .. node.of_queue, lane)
    if has_room(node.of_queue, limits.queue) then
      open_queue(node, lane, limits)
    end
  end
end

-- Closing: something below has no room or nothing to serve any more.

local function close_queue(node, lane)
  if leave(RING .. lane, REST .. lane, node.queue) and leave(RING .. node.environment, REST .. node.environment, lane) then
    leave(ROOT, ROOT_REST, node.environment)
  end
end

local function close_key(node, lane)
  local name = lane .. '|' .. node.queue
  if leave(RING .. name, REST .. name, node.key) then
    call('SREM', LANES .. node.of_queue, lane)
    close_queue(node, lane)
  end
end

-- Runs in and out of leaves and slots.

local function add_waiting(node, run, score, limits)
  local runs = RUNS .. node.leaf
  call('ZADD', runs, score, run)
  if call('ZCARD', runs) == 1 then
    call('SADD', LANES .. node.of_key, node.lane)
    if has_room(node.of_key, limits.key) then
      open_key(node, node.lane, limits)
    end
  end
end

local function remove_waiting(node, run)
  local runs = RUNS .. node.leaf
  call('ZREM', runs, run)
  if call('EXISTS', runs) == 0 then
    call('SREM', LANES .. node.of_key, node.lane)
    close_key(node, node.lane)
  end
end

-- Puts a run into all its slots. Returns which nodes are full now: key, queue, environment.
local function occupy(node, run, limits, lease_until)
  call('ZADD', INFLIGHT, lease_until, run)
  call('SADD', SLOTS .. node.of_key, run)
  call('SADD', SLOTS .. node.of_queue, run)
  call('SADD', SLOTS .. node.environment, run)
  return not has_room(node.of_key, limits.key),
    not has_room(node.of_queue, limits.queue),
    not has_room(node.environment, limits.environment)
end

-- A full key or queue leaves the ring of every lane where it has work.
local function close_full(node, key_full, queue_full)
  if key_full then
    for _, lane in ipairs(call('SMEMBERS', LANES .. node.of_key)) do
      close_key(node, lane)
    end
  end
  if queue_full then
    for _, lane in ipairs(call('SMEMBERS', LANES .. node.of_queue)) do
      close_queue(node, lane)
    end
  end
end

local function just_freed(name, capacity)
  return capacity ~= HUGE and call('SCARD', SLOTS .. name) == capacity - 1
end

-- Takes a run out of all its slots and lets those in that waited for one of them.
local function free(node, run, organization_capacity)
  local limits = limits_of(node.environment, node.queue)
  call('ZREM', INFLIGHT, run)
  call('SREM', SLOTS .. node.of_key, run)
  call('SREM', SLOTS .. node.of_queue, run)
  call('SREM', SLOTS .. node.environment, run)
  if just_freed(node.of_key, limits.key) then
    for _, lane in ipairs(call('SMEMBERS', LANES .. node.of_key)) do
      open_key(node, lane, limits)
    end
  end
  if just_freed(node.of_queue, limits.queue) then
    for _, lane in ipairs(call('SMEMBERS', LANES .. node.of_queue)) do
      open_queue(node, lane, limits)
    end
  end
  if just_freed(node.environment, limits.environment) and call('EXISTS', RING .. node.environment) == 1 then
    open_environment(node.environment)
  end
  if organization_capacity ~= HUGE and call('ZCARD', INFLIGHT) == organization_capacity - 1 then
    woke = true
  end
end

-- Choosing and taking.

-- Of the lanes that can serve, the one whose environment, then itself, is furthest behind; the first of equals.
local function best_lane(lanes)
  local chosen, least, own, environment, time
  for _, lane in ipairs(lanes) do
    local its = environment_of(lane)
    if its ~= environment then
      environment, time = its, tonumber(call('ZSCORE', ROOT, its))
    end
    local here = time and tonumber(call('ZSCORE', RING .. environment, lane))
    if here and (not chosen or time < least or (time == least and here < own)) then
      chosen, least, own = lane, time, here
    end
  end
  return chosen
end

-- The lane whose turn it is, but for some. Looks at no more lanes than are skipped, plus one.
local function next_lane(skip)
  local i = 0
  while true do
    local environment = call('ZRANGE', ROOT, i, i)[1]
    if not environment then
      return nil
    end
    local j = 0
    while true do
      local lane = call('ZRANGE', RING .. environment, j, j)[1]
      if not lane then
        break
      elseif not skip[lane] then
        return lane
      end
      j = j + 1
    end
    i = i + 1
  end
end

-- The run that a lane would serve next, with what `take` needs. Reads only.
local function pick(lane)
  local queues = head(RING .. lane)
  local keys = head(RING .. lane .. '|' .. queues[1])
  local node = split(lane .. '|' .. queues[1] .. '|' .. keys[1])
  local runs = head(RUNS .. node.leaf)
  return { node = node, queues = queues, keys = keys, run = runs[1], score = runs[2], more = runs[3] ~= nil }
end

-- Takes a picked run: into its slots, out of its leaf, and every node on the way is charged.
local function take(picked, lease_until)
  local node, lane = picked.node, picked.node.lane
  local environment, in_lane = node.environment, lane .. '|' .. node.queue
  local limits = limits_of(environment, node.queue)
  local key_full, queue_full, environment_full = occupy(node, picked.run, limits, lease_until)
  call('ZREM', RUNS .. node.leaf, picked.run)
  if not picked.more then
    call('SREM', LANES .. node.of_key, lane)
  end
  local none = serve(RING .. in_lane, REST .. in_lane, node.key, 1, picked.more and not key_full, picked.keys)
  if none then
    call('SREM', LANES .. node.of_queue, lane)
  end
  none = serve(RING .. lane, REST .. lane, node.queue, limits.queue_cost, not none and not queue_full, picked.queues)
  local ring, rest = RING .. environment, REST .. environment
  none = serve(ring, rest, lane, 1, not none, head(ring))
  serve(ROOT, ROOT_REST, environment, limits.environment_cost, not none and not environment_full, head(ROOT))
  close_full(node, key_full, queue_full)
end

-- Idle executors.

-- The executor is idle in no lane any more. Returns until when it was (ms), or nil.
local function unpark(executor)
  local parked = call('GET', PARKED .. executor)
  if not parked then
    return nil
  end
  local until_ms
  for word in string.gmatch(parked, '%S+') do
    if not until_ms then
      until_ms = tonumber(word)
    else
      call('ZREM', IDLE_IN .. word, executor)
      if call('EXISTS', IDLE_IN .. word) == 0 then
        call('ZREM', IDLE, word)
      end
    end
  end
  call('DEL', PARKED .. executor)
  return until_ms
end

-- Clears what is left of an idle executor whose own record is gone, or of a lane without any.
local function forget_idle(lane, executor)
  if executor then
    call('ZREM', IDLE_IN .. lane, executor)
  end
  if call('EXISTS', IDLE_IN .. lane) == 0 then
    call('ZREM', IDLE, lane)
  end
end

local function announce_to(executor, picked)
  local owner = string.match(P, '{(.-)}')
  local message = cjson.encode({ owner, picked.run, picked.node.leaf, picked.score, executor })
  return call('PUBLISH', P .. 'executor:' .. executor, message) > 0
end

-- Lanes with idle executors: the given one if it has any, else all.
local function idle_lanes(only)
  if only then
    return call('EXISTS', IDLE_IN .. only) == 1 and { only } or {}
  end
  return call('ZRANGE', IDLE, 0, LANES_AT_ONCE - 1)
end

-- Gives up to `limit` runs to idle executors, those parked last first. Executors that do not listen are dropped.
-- Returns a list of {run, executor}.
local function hand_over(only, limit, capacity, now, lease)
  local handed, tries = {}, TRIES
  while #handed < limit and tries > 0 do
    local lanes = idle_lanes(only)
    local lane = lanes[1] and is_due(capacity) and best_lane(lanes)
    if not lane then
      break
    end
    local executor = call('ZREVRANGE', IDLE_IN .. lane, 0, 0)[1]
    local until_ms = executor and unpark(executor)
    local picked = until_ms and until_ms > now and pick(lane)
    if picked and announce_to(executor, picked) then
      take(picked, now + lease)
      handed[#handed + 1] = { picked.run, executor }
    else
      forget_idle(lane, executor)
      tries = tries - 1
    end
  end
  return handed
end

-- What every verb that changes something reports beside its own result: whether the organization became due, how many
-- runs were handed over, and what each costs the organization.
local function report(capacity, cost, handed)
  local due = woke and is_due(capacity) and 1 or 0
  return due, #handed, string.format('%.17g', cost)
end
