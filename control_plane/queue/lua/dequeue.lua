-- Takes the next run in the fair order, with its slots and a lease; or lets the executor wait in its lanes.
-- KEYS[1] prefix. ARGV: now, lease, JSON lanes or '', JSON lanes to skip, executor or '', park until (ms) or ''
-- Answers NOTREADY, [run, environment, lane, queue, key, score, when its lease lapses], or an empty list.
-- Invariant: a run that is taken holds its slots in organization, environment, queue and key before it leaves its leaf.
if not ready() then return 'NOTREADY' end
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local lanes = ARGV[3] ~= '' and cjson.decode(ARGV[3]) or nil
local skip = ARGV[4] ~= '' and cjson.decode(ARGV[4]) or {}
if ARGV[5] ~= '' then no_longer_idle(ARGV[5]) end
local taken = take(lanes, skip, now, lease)
if taken then return taken end
if lanes and ARGV[5] ~= '' and ARGV[6] ~= '' then park(ARGV[5], lanes, tonumber(ARGV[6]), '') end
return {}
