-- Replaces an organization's limits and weights, then brings the tree in line with them; the same again costs nothing.
-- KEYS[1] prefix. ARGV: now, lease, JSON list of field, value, field, value, ...
-- Answers 1 when work is left that could start now, else 0. Works while the organization is not ready, too.
-- Invariant: nobody loses a slot; a lower limit only keeps further runs back.
local given, digest = cjson.decode(ARGV[3]), redis.sha1hex(ARGV[3])
local known = call('HGET', P .. 'limits', 'digest')
if known == digest or (not known and #given == 0) then return eligible() end
-- Rates by their fields, as they were: how far their starts are ahead means nothing to other rates.
local before, old, changed = {}, call('HGETALL', P .. 'limits'), false
for i = 1, #old, 2 do
  if string.sub(old[i], 1, 1) == 'r' then before[old[i]] = old[i + 1] end
end
call('DEL', P .. 'limits')
if #given > 0 then call('HSET', P .. 'limits', 'digest', digest) end
for i = 1, #given, 2 do
  call('HSET', P .. 'limits', given[i], given[i + 1])
  if string.sub(given[i], 1, 1) == 'r' then
    changed = changed or before[given[i]] ~= given[i + 1]
    before[given[i]] = nil
  end
end
if changed or next(before) then call('DEL', P .. 'paces', P .. 'opening') end
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
return eligible()
