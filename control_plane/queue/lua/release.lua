-- A run that is blocked gives its slots up; it stays known, and in flight without a lease to lapse.
-- KEYS[1] prefix. ARGV: now, lease, run
-- Answers NOTREADY, or 1 when work is left that could start now, else 0.
-- Invariant: only slots change. A run that is not in flight changes nothing.
if not ready() then return 'NOTREADY' end
local run = ARGV[3]
local item = call('HGET', P .. 'items', run)
if item and call('ZSCORE', P .. 'inflight', run) then
  call('ZADD', P .. 'inflight', '+inf', run)
  local at = cjson.decode(item)
  pass_on(at[1], let_go(run, at), tonumber(ARGV[1]), tonumber(ARGV[2]))
end
return eligible()
