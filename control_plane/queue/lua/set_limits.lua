-- Changes limits and lets every node that they concern in or out. Runs in flight stay, even above a new limit.
--
-- KEYS  the organization's prefix
-- ARGV  'replace' (what is absent has no limit any more) or 'merge' · field, value …, as keys.py packs them
-- Gives nil when not ready, else 1. The caller has runs handed over next.
-- Invariant: a node that has no room is in no ring, one that has room and something to serve is. Only nodes with runs in
-- flight and queues with limits of their own can change, so no others are visited.
if organization() ~= 'ready' then
  return nil
end

-- The fields that differ, by kind: environments, and queues as {environment, queue}. They are stored on the way.
local function store()
  local old, new = {}, {}
  local flat = call('HGETALL', LIMITS)
  for i = 1, #flat, 2 do
    old[flat[i]] = flat[i + 1]
  end
  for i = 2, #ARGV, 2 do
    new[ARGV[i]] = ARGV[i + 1]
  end
  local changed = {}
  for field, value in pairs(new) do
    if old[field] ~= value then
      call('HSET', LIMITS, field, value)
      changed[#changed + 1] = field
    end
  end
  for field in pairs(ARGV[1] == 'replace' and old or {}) do
    if not new[field] and field ~= '=state' then
      call('HDEL', LIMITS, field)
      changed[#changed + 1] = field
    end
  end
  table.sort(changed)
  return changed
end

-- Nodes with runs in flight in a slot set, once for each queue and key.
local function nodes_in(name)
  local nodes, seen = {}, {}
  for _, run in ipairs(call('SMEMBERS', SLOTS .. name)) do
    local item = call('HGET', ITEMS, run)
    local node = item and split(string.match(item, '^[^|]*|(.*)$'))
    if node and not seen[node.of_key] then
      seen[node.of_key] = true
      nodes[#nodes + 1] = node
    end
  end
  return nodes
end

local function concerned(changed)
  local nodes, environments = {}, {}
  for _, field in ipairs(changed) do
    local environment, queue = string.match(field, '^([^|]*)|(.*)$')
    if queue then
      nodes[#nodes + 1] = { environment = environment, queue = queue, of_queue = field }
    elseif field ~= '=organization' then
      environments[#environments + 1] = field
    end
    if field ~= '=organization' then
      for _, node in ipairs(nodes_in(field)) do
        nodes[#nodes + 1] = node
      end
    end
  end
  return nodes, environments
end

-- First everything that opens, then everything that closes: no ring is emptied that is not to be.
local function visit(nodes, opening)
  for _, node in ipairs(nodes) do
    local limits = limits_of(node.environment, node.queue)
    if node.of_key and has_room(node.of_key, limits.key) == opening then
      for _, lane in ipairs(call('SMEMBERS', LANES .. node.of_key)) do
        if opening then open_key(node, lane, limits) else close_key(node, lane) end
      end
    end
    if has_room(node.of_queue, limits.queue) == opening then
      for _, lane in ipairs(call('SMEMBERS', LANES .. node.of_queue)) do
        if opening then open_queue(node, lane, limits) else close_queue(node, lane) end
      end
    end
  end
end

write_though_full()
local nodes, environments = concerned(store())
visit(nodes, true)
for _, environment in ipairs(environments) do
  if has_room(environment, limits_of(environment, '').environment) and call('EXISTS', RING .. environment) == 1 then
    open_environment(environment)
  end
end
visit(nodes, false)
for _, environment in ipairs(environments) do
  if not has_room(environment, limits_of(environment, '').environment) then
    leave(ROOT, ROOT_REST, environment)
  end
end
return 1
