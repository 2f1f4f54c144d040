-- Replaces an organization's limits and weights, then brings the tree in line with them; the same again costs nothing.
-- KEYS[1] prefix. ARGV: now, lease, JSON list of field, value, field, value, ..., the turn in which they were read
-- Answers [1 when work is left that could start now, else 0; 1, or 0 where limits of a later turn are there already].
-- NOTREADY for a turn that was given before a loss. Works while the organization is not ready, too.
-- Invariants: nobody loses a slot; a lower limit only keeps further runs back. What was read in an earlier turn never
-- replaces what was read in a later one, whoever is slow.
local given, digest, turn = cjson.decode(ARGV[3]), redis.sha1hex(ARGV[3]), tonumber(ARGV[4])
local turns = call('HMGET', P .. 'turns', 'given', 'followed')
if turn > tonumber(turns[1] or '0') then return 'NOTREADY' end
if turn < tonumber(turns[2] or '0') then return { eligible(), 0 } end
call('HSET', P .. 'turns', 'followed', ARGV[4])
local known = call('HGET', P .. 'limits', 'digest')
if known == digest or (not known and #given == 0) then return { eligible(), 1 } end
-- Rates by their fields, as they are in a list of fields and values.
local function rates_of(list)
  local found = {}
  for i = 1, #list, 2 do
    if string.sub(list[i], 1, 1) == 'r' then found[list[i]] = tostring(list[i + 1]) end
  end
  return found
end

local before, after = rates_of(call('HGETALL', P .. 'limits')), rates_of(given)
call('DEL', P .. 'limits')
if #given > 0 then call('HSET', P .. 'limits', 'digest', digest) end
for i = 1, #given, 2 do call('HSET', P .. 'limits', given[i], given[i + 1]) end
local changed = false
for field, rate in pairs(before) do changed = changed or after[field] ~= rate end
for field, rate in pairs(after) do changed = changed or before[field] ~= rate end
-- Paces have their rates in their names: those of others end by themselves. What is shut is found anew below.
if changed then call('UNLINK', P .. 'opening') end
local envs = {}
for _, set in ipairs({ 'ring:root', 'held:root' }) do
  for _, env in ipairs(call('ZRANGE', P .. set, 0, -1)) do envs[#envs + 1] = env end
end
for _, env in ipairs(envs) do
  for _, kind in ipairs({ 'ring:', 'held:' }) do
    for _, lane in ipairs(call('ZRANGE', P .. kind .. env, 0, -1)) do
      for _, sub in ipairs({ 'ring:', 'held:' }) do
        for _, queue in ipairs(call('ZRANGE', P .. sub .. lane, 0, -1)) do
          local qnode = queue_node(lane, queue)
          for _, under in ipairs({ 'ring:', 'held:' }) do
            for _, key in ipairs(call('ZRANGE', P .. under .. qnode, 0, -1)) do refresh(env, lane, queue, key) end
          end
        end
      end
    end
  end
end
if ready() then hand_over_all(tonumber(ARGV[1]), tonumber(ARGV[2])) end
return { eligible(), 1 }
