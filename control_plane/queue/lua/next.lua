-- An executor's run is done and it wants the next: what it frees is its own first, then goes to others that wait.
-- KEYS[1] prefix. ARGV: now, lease, JSON lanes, executor, park until (ms) or '', the run that is done or '', what those
-- who wait for it are told, and a name for this poll
-- Answers NOTREADY, or [1 when others may go on that a limit held back, else 0; then what dequeue answers, if any].
-- Invariant: an executor is given one run at most; a run that is done leaves everything, an unknown one changes nothing.
if not ready() then return 'NOTREADY' end
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local lanes, executor = cjson.decode(ARGV[3]), ARGV[4]
no_longer_idle(executor)
local at, was_full
if ARGV[6] ~= '' then
  at, was_full = forget(ARGV[6])
  call('PUBLISH', P .. 'run:' .. ARGV[6], ARGV[7])
end
local taken = take(lanes, {}, now, lease)
if at then pass_on(at[1], was_full, now, lease) end
if not taken and ARGV[5] ~= '' then park(executor, lanes, tonumber(ARGV[5]), ARGV[8]) end
local more = (opened or was_full or (at and not taken)) and eligible() or 0
return { more, taken or {} }
