-- What the scripts that end a run's stay share.

-- Removes a run from its leaf or its slots, and its item. Removing works even when memory is full.
local function forget(run, capacity, in_flight_only)
  local item = call('HGET', ITEMS, run)
  if not item then
    return
  end
  local in_flight = call('ZSCORE', INFLIGHT, run)
  if not in_flight and in_flight_only then
    return
  end
  local node = split(string.match(item, '^[^|]*|(.*)$'))
  write_though_full()
  if in_flight then
    free(node, run, capacity)
  else
    remove_waiting(node, run)
  end
  call('HDEL', ITEMS, run)
end
