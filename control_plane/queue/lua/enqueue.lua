-- Adds due runs, each to the leaf of its lane, queue and key. Hands each to an executor that waits in its lane.
-- KEYS[1] prefix. ARGV: now (ms), lease (ms), then a JSON list [[run, environment, lane, queue, key, score], ...]
-- Answers NOTREADY, or [eligible, JSON {run: executor}]: eligible is 1 when work is left that could start now.
-- Invariant: a run that is known already, waiting or in flight, stays as it is.
if not ready() then return 'NOTREADY' end
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local handed = {}
for _, e in ipairs(cjson.decode(ARGV[3])) do
  local run, env, lane, queue, key, score = e[1], e[2], e[3], e[4], e[5], e[6]
  if call('HSETNX', P .. 'items', run, cjson.encode({ env, lane, queue, key, score })) == 1 then
    wait_in(env, lane, queue, key, score, run)
    if call('ZCARD', P .. 'leaf:' .. leaf_node(lane, queue, key)) == 1 then refresh(env, lane, queue, key) end
    if call('EXISTS', P .. 'idle:' .. lane) == 1 then
      local given, executor = hand_over(lane, now, lease)
      if given then handed[given] = executor end
    end
  end
end
return { eligible(), cjson.encode(handed) }
