-- Puts runs that already hold slots, or wait, back into an organization's state; used by a rebuild and by the sweep.
-- KEYS[1] prefix. ARGV: now, lease, JSON list of runs in flight, JSON list of waiting runs, each as for enqueue
-- Answers 1 when work is left that could start now, else 0.
-- Invariant: a run in flight holds its slots, whatever the limits say; one that waited before waits no longer.
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
for _, e in ipairs(cjson.decode(ARGV[3])) do
  local run, env, lane, queue, key, score = e[1], e[2], e[3], e[4], e[5], e[6]
  local before = call('HGET', P .. 'items', run)
  hold_slots(run, env, queue, key)
  if not call('ZSCORE', P .. 'inflight', run) then call('ZADD', P .. 'inflight', now + lease, run) end
  call('HSET', P .. 'items', run, cjson.encode({ env, lane, queue, key, score }))
  if before then
    local at = cjson.decode(before)
    if wait_no_longer(at[1], at[2], at[3], at[4], run) then refresh(at[1], at[2], at[3], at[4]) end
  end
  refresh_queue(env, queue, key)
  refresh_environment(env, queue)
end
for _, e in ipairs(cjson.decode(ARGV[4])) do
  local run, env, lane, queue, key, score = e[1], e[2], e[3], e[4], e[5], e[6]
  if call('HSETNX', P .. 'items', run, cjson.encode({ env, lane, queue, key, score })) == 1 then
    wait_in(env, lane, queue, key, score, run)
    refresh(env, lane, queue, key)
  end
end
-- In the middle of a rebuild not all slots are known yet: what may start is handed over at its end.
if ready() then hand_over_all(now, lease) end
return eligible()
