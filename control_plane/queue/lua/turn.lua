-- A turn to read an organization's limits and to replace them by what was read (see limits.lua).
-- KEYS[1] prefix. No ARGV.
-- Answers the turn: a number above all that were given before.
-- Invariant: also above those of a life of this Redis that was lost, unless its clock went back since: it is the time in µs.
local time = call('TIME')
local last = tonumber(call('HGET', P .. 'turns', 'given') or '0')
local turn = math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), last + 1)
call('HSET', P .. 'turns', 'given', string.format('%.0f', turn))
return turn
