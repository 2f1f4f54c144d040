-- Lists the lanes that could serve a run now, in the order of their turns.
--
-- KEYS  the organization's prefix
-- ARGV  how many at most
-- Gives nil when not ready, else the lanes. Reads only.
local most = tonumber(ARGV[1])

local state, capacity = organization()
if state ~= 'ready' then
  return nil
end
local lanes = {}
if is_due(capacity) then
  for _, environment in ipairs(call('ZRANGE', ROOT, 0, most - 1)) do
    for _, lane in ipairs(call('ZRANGE', RING .. environment, 0, most - #lanes - 1)) do
      lanes[#lanes + 1] = lane
    end
    if #lanes >= most then
      break
    end
  end
end
return lanes
