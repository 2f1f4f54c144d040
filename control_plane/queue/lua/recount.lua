-- Counts the runs that wait in some queues of those that are counted, whichever: an earlier release's servers, while they are
-- there beside this one's, change leaves and no counts, and a queue that is never empty is never forgotten.
-- KEYS[1] prefix. ARGV: how many queues, of how many concurrency keys at most: nobody else is answered meanwhile
-- Answers how many counts were wrong.
-- Invariant: a count is that of the leaves there are, in the same script.
local wrong, most = 0, tonumber(ARGV[2])
for _, id in ipairs(call('HRANDFIELD', P .. 'waiting', ARGV[1])) do
  local queue, leaves, runs = string.match(id, '/.*$'), {}, 0
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes:' .. id)) do
    local node = lane .. queue
    for _, set in ipairs({ 'ring:', 'held:' }) do
      if #leaves + call('ZCARD', P .. set .. node) > most then leaves, runs = {}, nil break end
      for _, key in ipairs(call('ZRANGE', P .. set .. node, 0, -1)) do table.insert(leaves, node .. '/' .. key) end
    end
    if not runs then break end
  end
  if runs then
    for _, leaf in ipairs(leaves) do runs = runs + call('ZCARD', P .. 'leaf:' .. leaf) end
    if tonumber(call('HGET', P .. 'waiting', id)) ~= runs then
      call('HSET', P .. 'waiting', id, runs)
      wrong = wrong + 1
    end
  end
end
return wrong
