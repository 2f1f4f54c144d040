-- Opens an organization again.
--
-- KEYS  the organization's prefix
-- ARGV  token of the rebuild
-- Gives 1, or 0 when another rebuild began since. Invariant: only a complete rebuild makes an organization ready.
if organization() ~= 'building:' .. ARGV[1] then
  return 0
end
call('HSET', LIMITS, '=state', 'ready')
return 1
