-- Shuts an organization until it is rebuilt, and gives it its limits.
--
-- KEYS  the organization's prefix
-- ARGV  token of this rebuild · field, value … of the limits
-- Gives 1. Invariant: of several rebuilds the one that began last is the only one that can add and finish.
call('HSET', LIMITS, '=state', 'building:' .. ARGV[1])
for _, field in ipairs(call('HKEYS', LIMITS)) do
  if field ~= '=state' then
    call('HDEL', LIMITS, field)
  end
end
for i = 2, #ARGV, 2 do
  call('HSET', LIMITS, ARGV[i], ARGV[i + 1])
end
return 1
