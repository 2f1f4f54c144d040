-- What the two scripts that dequeue share. Reads ARGV[1] to [5] as dequeue.lua says.

local function park(executor, now, until_ms, lanes)
  local stays_for = math.ceil(until_ms - now) + FORGOTTEN_AFTER
  for _, lane in ipairs(lanes) do
    call('ZADD', IDLE, 0, lane)
    call('ZADD', IDLE_IN .. lane, now, executor)
    call('PEXPIRE', IDLE_IN .. lane, stays_for)
  end
  call('PEXPIRE', IDLE, stays_for)
  call('SET', PARKED .. executor, string.format('%.0f', until_ms) .. ' ' .. table.concat(lanes, ' '), 'PX', stays_for)
end

-- Takes the next run of any lane or of the given ones; without one, parks the executor. The lanes begin at ARGV[first].
-- Returns what was picked, or nil.
local function dequeue(capacity, first)
  local now, lease, executor, until_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
  local count, lanes, skip = tonumber(ARGV[5]), {}, {}
  for i = first, #ARGV do
    if count < 0 then
      skip[ARGV[i]] = true
    else
      lanes[#lanes + 1] = ARGV[i]
    end
  end
  write_though_full()
  if executor ~= '' then
    unpark(executor)
  end
  local lane
  if is_due(capacity) then
    lane = count < 0 and next_lane(skip) or count > 0 and best_lane(lanes)
  end
  if lane then
    local picked = pick(lane)
    take(picked, now + lease)
    return picked
  end
  if executor ~= '' and until_ms > now and count > 0 then
    park(executor, now, until_ms, lanes)
  end
  return nil
end
