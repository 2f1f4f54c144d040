-- The organization whose turn it is. Not charged: `charge_organization` follows when a run was really taken.
-- KEYS: orgs. ARGV: organizations to pass over
-- Answers its id, or nothing.
local skip = {}
for _, name in ipairs(ARGV) do skip[name] = true end
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, #ARGV)) do
  if not skip[name] then return name end
end
return false
