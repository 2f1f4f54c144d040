-- Counts the runs that wait in some queues of those that are counted, whichever: an earlier release's servers, while they are
-- there beside this one's, change leaves and no counts, and a queue that is never empty is never forgotten. One that has very many
-- keys is counted over several calls, one such queue at a time: nobody else is answered while a script runs.
-- KEYS[1] prefix. ARGV: how many queues; of how many concurrency keys each at once, and in a portion; for how many ms a count that
-- nobody goes on with is kept, and a queue whose count was right, in portions, is left alone
-- Answers how many counts were wrong.
-- Invariants: a count is that of the leaves there are, in the same script. What is counted in portions is every leaf, once:
-- those that are counted already are named, and scripts that change a leaf count that on (`count_on`).
local queues, most, patience = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local counting = P .. 'counting'
local wrong = 0

-- Answers whether the count was right.
local function put(id, runs)
  if tonumber(call('HGET', P .. 'waiting', id)) == runs then return true end
  call('HSET', P .. 'waiting', id, runs)
  wrong = wrong + 1
  return false
end

-- The sets that have a queue's keys with work, without the prefix.
local function sets_of(id)
  local queue, sets = string.match(id, '/.*$'), {}
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes:' .. id)) do
    table.insert(sets, 'ring:' .. lane .. queue)
    table.insert(sets, 'held:' .. lane .. queue)
  end
  return sets
end

-- What the names of its leaves begin with.
local function above(set) return string.match(set, '^%a+:(.*)$') .. '/' end

local function leaves_in(sets)
  local leaves = 0
  for _, set in ipairs(sets) do leaves = leaves + call('ZCARD', P .. set) end
  return leaves
end

local function count_at_once(id, sets)
  local runs = 0
  for _, set in ipairs(sets) do
    local leaf = P .. 'leaf:' .. above(set)
    for _, key in ipairs(call('ZRANGE', P .. set, 0, -1)) do runs = runs + call('ZCARD', leaf .. key) end
  end
  put(id, runs)
end

-- Goes on from a cursor, through a portion of the keys, and notes where it is.
local function count_some(sets, cursor)
  local left, runs = most, 0
  while sets[1] and left > 0 do
    local found, node = call('ZSCAN', P .. sets[1], cursor, 'COUNT', left), above(sets[1])
    cursor = found[1]
    for i = 1, #found[2], 2 do
      local leaf = node .. found[2][i]
      if call('HSETNX', counting, leaf, 1) == 1 then runs = runs + call('ZCARD', P .. 'leaf:' .. leaf) end
    end
    left = left - math.max(#found[2] / 2, 1)
    if cursor == '0' then table.remove(sets, 1) end
  end
  call('HINCRBY', counting, '#runs', runs)
  call('HSET', counting, '#sets', cjson.encode(sets), '#cursor', cursor)
  call('PEXPIRE', counting, patience)
  return sets[1] == nil
end

local function go_on()
  local noted = call('HMGET', counting, '#queue', '#sets', '#cursor')
  local id = noted[1]
  if call('HEXISTS', P .. 'waiting', id) == 0 then return call('UNLINK', counting) end
  if not count_some(cjson.decode(noted[2]), noted[3]) then return end
  local sets = sets_of(id)
  local counted, there = call('HLEN', counting) - 4, leaves_in(sets)
  if counted < there then -- a key that went from one set to another was seen in neither
    return call('HSET', counting, '#sets', cjson.encode(sets), '#cursor', 0)
  end
  -- Not as many: somebody has emptied leaves and said nothing of it. A count that was wrong is made again as well, for
  -- whoever spoilt it may have been there while it was made.
  if counted == there and put(id, tonumber(call('HGET', counting, '#runs'))) then
    call('SET', P .. 'counted:' .. id, 1, 'PX', patience)
  end
  call('UNLINK', counting)
end

if call('EXISTS', counting) == 1 then go_on() end
for _, id in ipairs(call('HRANDFIELD', P .. 'waiting', queues)) do
  local sets = sets_of(id)
  if leaves_in(sets) <= most then
    count_at_once(id, sets)
  elseif call('EXISTS', counting, P .. 'counted:' .. id) == 0 then
    call('HSET', counting, '#queue', id, '#runs', 0, '#sets', cjson.encode(sets), '#cursor', 0)
    call('PEXPIRE', counting, patience)
  end
end
return wrong
