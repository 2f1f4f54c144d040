-- The organization's state is complete: its scripts may answer again. Executors whose polls are open are told to ask
-- again, since a loss has forgotten that they wait.
-- KEYS[1] prefix. ARGV: now, lease
-- Answers 1 when work waits that could start now, else 0.
call('SET', P .. 'ready', 1)
hand_over_all(tonumber(ARGV[1]), tonumber(ARGV[2]))
local channels = string.gsub(P, '[%*%?%[%]%\\]', '\\%0') .. 'executor:*'
for _, channel in ipairs(call('PUBSUB', 'CHANNELS', channels)) do call('PUBLISH', channel, '') end
return eligible()
