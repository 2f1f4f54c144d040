-- Gives a run that was dequeued its place in the queue back.
-- KEYS[1] prefix. ARGV: now, lease, run, the lease that it was seen with ('' for any), score or '' for the one it had
-- Answers NOTREADY, or 1 when work is left that could start now, else 0.
-- Invariant: it waits again before it lets its slots go. A run that is not in flight changes nothing, nor does
-- one with another lease.
if not ready() then return 'NOTREADY' end
local run = ARGV[3]
local item = call('HGET', P .. 'items', run)
if item and call('ZSCORE', P .. 'inflight', run) and lease_is(run, ARGV[4]) then
  local at = cjson.decode(item)
  local env, lane, queue, key = at[1], at[2], at[3], at[4]
  if ARGV[5] ~= '' then at[5] = tonumber(ARGV[5]) end
  call('HSET', P .. 'items', run, cjson.encode(at))
  wait_in(env, lane, queue, key, at[5], run)
  call('ZREM', P .. 'inflight', run)
  local was_full = let_go(run, at)
  refresh(env, lane, queue, key)
  pass_on(env, was_full, tonumber(ARGV[1]), tonumber(ARGV[2]))
end
return eligible()
