-- A run is done with the queue: out of everything. Its slots may let others go on.
-- KEYS[1] prefix. ARGV: now, lease, run
-- Answers NOTREADY, or 1 when work is left that could start now, else 0.
-- Invariant: an unknown run changes nothing.
if not ready() then return 'NOTREADY' end
local run = ARGV[3]
local item = call('HGET', P .. 'items', run)
if item then
  local at = cjson.decode(item)
  local env, lane, queue, key = at[1], at[2], at[3], at[4]
  call('HDEL', P .. 'items', run)
  call('ZREM', P .. 'inflight', run)
  if call('ZREM', P .. 'leaf:' .. leaf_node(lane, queue, key), run) == 1 then refresh(env, lane, queue, key) end
  let_go(run, at, tonumber(ARGV[1]), tonumber(ARGV[2]))
end
return eligible()
