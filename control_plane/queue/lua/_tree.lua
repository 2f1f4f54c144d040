-- Shared by every script of an organization: the tree of environments, lanes, queues and keys, and its slots.
-- KEYS[1] is the organization's prefix (see keys.py). Nothing here answers; a script's last lines do.
--
-- Fairness: a node serves its child with the lowest virtual time, then adds 1/weight to it. A child that gets work
-- again enters at max(its own time, the node's clock), so that resting earns nothing.
-- Invariants: a child is in at most one of ring, held and rest. In the ring: it has work and no limit holds it back.
-- A slot is membership of a set. What is added is added before anything is removed.

local P = KEYS[1]
local call = redis.call
-- In scripts that bring the tree in line: ms.
local NOW = tonumber(ARGV[1])

local function esc(text) return #text .. ':' .. text end
local function queue_id(env, queue) return env .. '/' .. esc(queue) end
local function queue_node(lane, queue) return lane .. '/' .. esc(queue) end
local function leaf_node(lane, queue, key) return lane .. '/' .. esc(queue) .. '/' .. key end
local function key_slots(env, queue, key) return P .. 'slots:k:' .. queue_id(env, queue) .. '/' .. key end

local function ready() return call('EXISTS', P .. 'ready') == 1 end

-- The limits that govern a run: of the organization, the environment, the queue and the key, then the rates of queue and
-- key. A missing one is none.
local function caps(env, queue, key)
  local id = queue_id(env, queue)
  local of_key = id .. '/' .. key
  local found = call('HMGET', P .. 'limits', 'org', 'e:' .. env, 'b:' .. env, 'q:' .. id, 'rq:' .. id, 'rk:' .. id,
    'k:' .. of_key, 'rk:' .. of_key)
  local none = math.huge
  local org, e = tonumber(found[1]) or none, tonumber(found[2]) or none
  local plain, q = tonumber(found[3]) or none, tonumber(found[4]) or none
  -- One queue never uses the burst part. Its own limit holds for each concurrency key by itself, but for those that have
  -- one of theirs; a limit of 0, which a paused queue has, too, holds back everything.
  local whole, k = plain, tonumber(found[7]) or q
  if q == 0 then whole, k = 0, 0 end
  return org, e, whole, math.min(k, plain), found[5], found[8] or found[6]
end

-- A pace counts the starts under one rate: how far they are ahead means nothing to another.
local function queue_pace(env, queue) return 'q:' .. queue_id(env, queue) end
local function key_pace(env, queue, key) return 'k:' .. queue_id(env, queue) .. '/' .. key end

-- Whether the runs of a lane have begun before and only go on: rates are of starts.
local function goes_on(lane)
  local version = string.match(lane, '^[^|]*|([^|]*)')
  return version == RESIDENT or string.find(version, '@', 1, true) ~= nil
end

-- When a rate lets the next run start, if that is ahead. Its pace: when one would be due if all were spread evenly.
local function shut_until(rate, name)
  local pace = rate and call('ZSCORE', P .. 'paces', rate .. ' ' .. name)
  if not pace then return nil end
  local interval, burst = string.match(rate, '^(%S+) (%S+)$')
  local at = tonumber(pace) - (tonumber(burst) - 1) * tonumber(interval)
  if at > NOW then return at end
end

-- A run starts: its queue's and its key's pace go on by an interval each. One that is past is none.
local function count_start(rate, name)
  if not rate then return end
  name = rate .. ' ' .. name
  call('ZREMRANGEBYSCORE', P .. 'paces', '-inf', NOW)
  local pace = math.max(tonumber(call('ZSCORE', P .. 'paces', name) or NOW), NOW)
  call('ZADD', P .. 'paces', string.format('%.17g', pace + tonumber(string.match(rate, '^%S+'))), name)
  -- Where no rate is left nobody removes them: all of them end an hour after the last would be past.
  local last = call('ZRANGE', P .. 'paces', -1, -1, 'WITHSCORES')[2]
  call('PEXPIRE', P .. 'paces', string.format('%.0f', math.max(tonumber(last) - NOW, 0) + 3600000))
end

-- What a rate shuts is looked at again then, by `open`. An earlier look that is due stays: other lanes may need it.
local function look_again_at(env, queue, key, at)
  local place = cjson.encode({ env, queue, key })
  local known = call('ZSCORE', P .. 'opening', place)
  if not known or tonumber(known) > at then call('ZADD', P .. 'opening', string.format('%.17g', at), place) end
end

local function weight(field)
  return tonumber(call('HGET', P .. 'limits', 'w:' .. field) or '1') or 1
end

local function clock(node) return tonumber(call('HGET', P .. 'clocks', node) or '0') end

local function full(set, cap)
  if cap == math.huge then return false end
  return call('SCARD', set) >= cap
end

-- Whether a child came from the held into a ring: somebody may go on who could not before.
local opened = false

-- Puts a child with work where it belongs: into the ring, or among the held when `held` is true.
local function place(node, child, held)
  local ring, other = P .. 'ring:' .. node, P .. 'held:' .. node
  local into, from = ring, other
  if held then into, from = other, ring end
  if call('ZSCORE', into, child) then return end
  local vt = call('ZSCORE', from, child) or call('ZSCORE', P .. 'rest:' .. node, child) or '0'
  -- Being held back earns nothing either: it enters the ring no earlier than where the others are.
  if not held then vt = string.format('%.17g', math.max(tonumber(vt), clock(node))) end
  call('ZADD', into, vt, child)
  if call('ZREM', from, child) == 1 and not held then opened = true end
  call('ZREM', P .. 'rest:' .. node, child)
end

-- A child without work leaves ring and held; its time is kept only while it is ahead of the clock.
local function retire(node, child)
  local ring, held, rest = P .. 'ring:' .. node, P .. 'held:' .. node, P .. 'rest:' .. node
  local vt = call('ZSCORE', ring, child) or call('ZSCORE', held, child)
  if vt and tonumber(vt) > clock(node) then call('ZADD', rest, vt, child) end
  call('ZREM', ring, child)
  call('ZREM', held, child)
  if call('EXISTS', ring, held) == 0 then
    call('DEL', rest)
    call('HDEL', P .. 'clocks', node)
  end
end

-- After anything changed below `child`: 'ring' if it can serve, 'held' if it has work it cannot serve, else 'none'.
local function state(child_node)
  if call('EXISTS', P .. 'ring:' .. child_node) == 1 then return 'ring' end
  if call('EXISTS', P .. 'held:' .. child_node) == 1 then return 'held' end
  return 'none'
end

local function settle(node, child, child_state, blocked)
  if child_state == 'none' then
    retire(node, child)
  else
    place(node, child, blocked or child_state == 'held')
  end
end

-- A leaf has a run more or less while its queue is counted in portions (`recount`): those that were counted go on being so. So does
-- one that was empty, since the portions to come may pass over it.
local function count_on(id, leaf, by)
  local counting = P .. 'counting'
  if call('HGET', counting, '#queue') ~= id then return end
  local runs = call('ZCARD', P .. 'leaf:' .. leaf)
  if runs ~= by and call('HEXISTS', counting, leaf) == 0 then return end
  call('HINCRBY', counting, '#runs', by)
  if runs == 0 then call('HDEL', counting, leaf) else call('HSET', counting, leaf, 1) end
end

-- A run waits in its leaf, and counts in its queue: `waiting` says how many do over all lanes and keys, so that nobody has to
-- read those. A queue that already had work when there was no count yet gets one when it has work again.
local function wait_in(env, lane, queue, key, score, run)
  local leaf, id = leaf_node(lane, queue, key), queue_id(env, queue)
  local added = call('ZADD', P .. 'leaf:' .. leaf, score, run)
  if call('EXISTS', P .. 'lanes:' .. id) == 0 then
    call('HSET', P .. 'waiting', id, added)
  elseif call('HEXISTS', P .. 'waiting', id) == 1 then
    call('HINCRBY', P .. 'waiting', id, added)
  end
  if added == 1 then count_on(id, leaf, 1) end
end

-- It waits no longer. Answers whether it did.
local function wait_no_longer(env, lane, queue, key, run)
  local leaf, id = leaf_node(lane, queue, key), queue_id(env, queue)
  if call('ZREM', P .. 'leaf:' .. leaf, run) == 0 then return false end
  if call('HEXISTS', P .. 'waiting', id) == 1 then call('HINCRBY', P .. 'waiting', id, -1) end
  count_on(id, leaf, -1)
  return true
end

-- Brings one path of the tree, from a leaf upwards, in line with the work and the slots there are.
local function refresh(env, lane, queue, key)
  local _, e, q, k, queue_rate, key_rate = caps(env, queue, key)
  local qnode, qid = queue_node(lane, queue), queue_id(env, queue)
  local leaf = call('EXISTS', P .. 'leaf:' .. leaf_node(lane, queue, key)) == 1
  local queue_shut, key_shut
  if (queue_rate or key_rate) and not goes_on(lane) then
    queue_shut = shut_until(queue_rate, queue_pace(env, queue))
    key_shut = leaf and shut_until(key_rate, key_pace(env, queue, key))
  end
  settle(qnode, key, leaf and 'ring' or 'none', leaf and (key_shut or full(key_slots(env, queue, key), k)))
  local below = state(qnode)
  if below == 'none' then
    call('SREM', P .. 'lanes:' .. qid, lane)
    if call('EXISTS', P .. 'lanes:' .. qid) == 0 then call('HDEL', P .. 'waiting', qid) end
  else
    call('SADD', P .. 'lanes:' .. qid, lane)
  end
  settle(lane, queue, below, below ~= 'none' and (queue_shut or full(P .. 'slots:q:' .. qid, q)))
  if below ~= 'none' and (queue_shut or key_shut) then
    look_again_at(env, queue, key, math.min(queue_shut or math.huge, key_shut or math.huge))
  end
  settle(env, lane, state(lane), false)
  local whole = state(env)
  settle('root', env, whole, whole ~= 'none' and full(P .. 'slots:e:' .. env, e))
end

-- The environment alone, after its slots changed: it may be held back now, or no longer.
local function refresh_environment(env, queue)
  local whole = state(env)
  if whole == 'none' then return end
  local _, e = caps(env, queue, '')
  settle('root', env, whole, full(P .. 'slots:e:' .. env, e))
end

-- The same for every lane in which the queue has work: its limit is one over all of them.
local function refresh_queue(env, queue, key, but_for)
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes:' .. queue_id(env, queue))) do
    if lane ~= but_for then refresh(env, lane, queue, key) end
  end
end

-- Serves a child. However long nobody could serve it, for want of executors in its lanes, it has at most PATIENCE runs
-- (see domain/fair_node.py) in advance of the others when they come. The clock follows the lowest of those that keep up.
local function charge(node, child, w)
  local ring, at = P .. 'ring:' .. node, clock(node)
  local vt = math.max(tonumber(call('ZSCORE', ring, child)), at - PATIENCE / w)
  call('ZADD', ring, string.format('%.17g', vt + 1 / w), child)
  if vt > at then
    local front = call('ZRANGEBYSCORE', ring, string.format('%.17g', vt - PATIENCE / w), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    local now_at = math.min(vt, tonumber(front[2]))
    if now_at > at then
      at = now_at
      call('HSET', P .. 'clocks', node, string.format('%.17g', at))
    end
  end
  -- What rests behind the clock has nothing to remember. Bounded: a few each time keep up with what enters.
  local stale = call('ZRANGEBYSCORE', P .. 'rest:' .. node, '-inf', string.format('%.17g', at), 'LIMIT', 0, 4)
  if #stale > 0 then call('ZREM', P .. 'rest:' .. node, unpack(stale)) end
end

local function hold_slots(run, env, queue, key)
  call('SADD', P .. 'slots:org', run)
  call('SADD', P .. 'slots:e:' .. env, run)
  call('SADD', P .. 'slots:q:' .. queue_id(env, queue), run)
  call('SADD', key_slots(env, queue, key), run)
end

local function free_slots(run, env, queue, key)
  call('SREM', P .. 'slots:org', run)
  call('SREM', P .. 'slots:e:' .. env, run)
  call('SREM', P .. 'slots:q:' .. queue_id(env, queue), run)
  call('SREM', key_slots(env, queue, key), run)
end

local function org_full()
  local cap = tonumber(call('HGET', P .. 'limits', 'org') or '')
  return cap and call('SCARD', P .. 'slots:org') >= cap
end

local function first(zset) return call('ZRANGE', zset, 0, 0)[1] end

-- The lane to serve in an environment: the given one with the lowest virtual time, or the first that is not skipped.
local function pick_lane(env, lanes, skip)
  if lanes then
    local best, best_vt
    for _, lane in ipairs(lanes) do
      local vt = tonumber(call('ZSCORE', P .. 'ring:' .. env, lane) or '')
      if vt and (not best or vt < best_vt or (vt == best_vt and lane < best)) then best, best_vt = lane, vt end
    end
    return best
  end
  for _, lane in ipairs(call('ZRANGE', P .. 'ring:' .. env, 0, #skip)) do
    local skipped = false
    for _, name in ipairs(skip) do skipped = skipped or name == lane end
    if not skipped then return lane end
  end
end

-- Takes the next run: of the given lanes (all of one environment), or of any lane that is not skipped.
-- Answers [run, environment, lane, queue, key, score, when its lease lapses], or nothing.
local function take(lanes, skip, now, lease)
  if org_full() then return nil end
  local env, lane
  if lanes then
    if #lanes == 0 then return nil end
    env = string.match(lanes[1], '^(.-)|')
    if not call('ZSCORE', P .. 'ring:root', env) then return nil end
    lane = pick_lane(env, lanes, skip)
  else
    for _, candidate in ipairs(call('ZRANGE', P .. 'ring:root', 0, #skip)) do
      lane = pick_lane(candidate, nil, skip)
      if lane then env = candidate break end
    end
  end
  if not lane then return nil end
  local queue = first(P .. 'ring:' .. lane)
  local qnode = queue_node(lane, queue)
  local key = first(P .. 'ring:' .. qnode)
  local leaf = P .. 'leaf:' .. leaf_node(lane, queue, key)
  local head = call('ZRANGE', leaf, 0, 0, 'WITHSCORES')
  local run = head[1]
  hold_slots(run, env, queue, key)
  call('ZADD', P .. 'inflight', now + lease, run)
  local _, _, _, _, queue_rate, key_rate = caps(env, queue, key)
  if (queue_rate or key_rate) and not goes_on(lane) then
    count_start(queue_rate, queue_pace(env, queue))
    count_start(key_rate, key_pace(env, queue, key))
  end
  charge('root', env, weight('e:' .. env))
  charge(env, lane, 1)
  charge(lane, queue, weight('q:' .. queue_id(env, queue)))
  charge(qnode, key, 1)
  wait_no_longer(env, lane, queue, key, run)
  refresh(env, lane, queue, key)
  refresh_queue(env, queue, key, lane)
  return { run, env, lane, queue, key, head[2], string.format('%d', now + lease) }
end

-- With `poll` only if the executor waits in that very poll: the end of an older one must not end the newer.
local function no_longer_idle(executor, poll)
  local found = call('HGET', P .. 'idlers', executor)
  if not found then return end
  local waits = cjson.decode(found)
  if poll and poll ~= waits[1] then return end
  for _, lane in ipairs(waits[2]) do call('ZREM', P .. 'idle:' .. lane, executor) end
  call('HDEL', P .. 'idlers', executor)
end

local function park(executor, lanes, until_ms, poll)
  call('HSET', P .. 'idlers', executor, cjson.encode({ poll, lanes }))
  for _, lane in ipairs(lanes) do call('ZADD', P .. 'idle:' .. lane, until_ms, executor) end
end

-- Hands the next run of a lane to an executor that waits in it: the one that waits longest into the future.
-- Answers the run and the executor, or nothing. One that nobody listens for is dropped: it asks again if it lives.
local function hand_over(lane, now, lease)
  local idle = P .. 'idle:' .. lane
  while true do
    local waiting = call('ZREVRANGE', idle, 0, 0, 'WITHSCORES')
    local executor = waiting[1]
    if not executor then return nil end
    local channel = P .. 'executor:' .. executor
    if tonumber(waiting[2]) <= now or call('PUBSUB', 'NUMSUB', channel)[2] == 0 then
      no_longer_idle(executor)
      call('ZREM', idle, executor)
    else
      local taken = take({ lane }, {}, now, lease)
      if not taken then return nil end
      no_longer_idle(executor)
      call('PUBLISH', channel, cjson.encode(taken))
      return taken[1], executor
    end
  end
end

-- The lanes of an environment that could serve now and in which an executor waits: a run each; a bounded look.
-- Answers whether any was handed over.
local function hand_over_freed(env, now, lease)
  local any = false
  for _, lane in ipairs(call('ZRANGE', P .. 'ring:' .. env, 0, 7)) do
    if call('EXISTS', P .. 'idle:' .. lane) == 1 and hand_over(lane, now, lease) then any = true end
  end
  return any
end

-- The same for the environments that could serve now.
local function hand_over_round(now, lease)
  local any = false
  for _, env in ipairs(call('ZRANGE', P .. 'ring:root', 0, 7)) do any = hand_over_freed(env, now, lease) or any end
  return any
end

-- Rounds until nobody waits for what could start now: limits were raised, or a state is whole again.
local function hand_over_all(now, lease)
  for _ = 1, 64 do
    if not hand_over_round(now, lease) then return end
  end
end

-- Frees what a run held and lets those go on that its slots kept back. Answers whether the organization was full.
local function let_go(run, place_of)
  local env, queue, key = place_of[1], place_of[3], place_of[4]
  local was_full = org_full()
  free_slots(run, env, queue, key)
  refresh_queue(env, queue, key)
  refresh_environment(env, queue)
  return was_full
end

-- What became free goes to executors that wait: of the same environment, or of any if the organization was full.
local function pass_on(env, was_full, now, lease)
  hand_over_freed(env, now, lease)
  if was_full then hand_over_round(now, lease) end
end

-- Whether a run's lease is still the one that the caller saw when it made up its mind: '' for any, 'none' for no lease.
-- Another one means that it was taken again since, and is somebody else's now.
local function lease_is(run, seen)
  if seen == '' then return true end
  local lease = call('ZSCORE', P .. 'inflight', run)
  if seen == 'none' then return not lease end
  return lease and tonumber(lease) == tonumber(seen)
end

-- Out of everything. Answers its place and whether the organization was full; nothing for an unknown run.
local function forget(run)
  local item = call('HGET', P .. 'items', run)
  if not item then return nil end
  local at = cjson.decode(item)
  call('HDEL', P .. 'items', run)
  call('ZREM', P .. 'inflight', run)
  if wait_no_longer(at[1], at[2], at[3], at[4], run) then refresh(at[1], at[2], at[3], at[4]) end
  return at, let_go(run, at)
end

local function eligible() return (call('EXISTS', P .. 'ring:root') == 1 and not org_full()) and 1 or 0 end
