-- Puts a run where the store has it, whatever the limits, and hands nothing over.
--
-- KEYS  the organization's prefix
-- ARGV  now and lease in ms · token of the rebuild or '' · 'waiting' or 'inflight' · run · leaf · score
-- Gives nil when neither ready nor being rebuilt under this token, else {due}.
-- Invariant: a known run that should wait is left as it is; one that should be in flight no longer waits.
local now, lease, token, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local run, leaf, score = ARGV[5], ARGV[6], ARGV[7]

local state, capacity = organization()
if state ~= 'ready' and (token == '' or state ~= 'building:' .. token) then
  return nil
end
local new = call('HSETNX', ITEMS, run, score .. '|' .. leaf) == 1
local known = new and leaf or string.match(call('HGET', ITEMS, run), '^[^|]*|(.*)$')
local node = split(known)
local limits = limits_of(node.environment, node.queue)
if wanted == 'waiting' and new then
  add_waiting(node, run, score, limits)
elseif wanted == 'inflight' and not call('ZSCORE', INFLIGHT, run) then
  local key_full, queue_full, environment_full = occupy(node, run, limits, now + lease)
  if not new then
    remove_waiting(node, run)
  end
  close_full(node, key_full, queue_full)
  if environment_full then
    leave(ROOT, ROOT_REST, node.environment)
  end
end
return { state == 'ready' and woke and is_due(capacity) and 1 or 0 }
