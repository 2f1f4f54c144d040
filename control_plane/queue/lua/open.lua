-- Queues and keys whose rate has let nothing start for a while are looked at again; executors that wait get their runs.
-- KEYS[1] prefix. ARGV: now, lease, how many places to look at
-- Answers NOTREADY, or [1 when work is left that could start now, else 0; when the next look is due in ms, or ''].
-- Invariant: what is still shut has a look ahead of it again.
if not ready() then return 'NOTREADY' end
local due = call('ZRANGEBYSCORE', P .. 'opening', '-inf', NOW, 'LIMIT', 0, tonumber(ARGV[3]))
for _, place in ipairs(due) do
  call('ZREM', P .. 'opening', place)
  local at = cjson.decode(place)
  refresh_queue(at[1], at[2], at[3])
end
if #due > 0 then hand_over_all(NOW, tonumber(ARGV[2])) end
return { eligible(), call('ZRANGE', P .. 'opening', 0, 0, 'WITHSCORES')[2] or '' }
