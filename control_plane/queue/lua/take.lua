-- Takes calls out of a bucket that fills evenly by the server's clock.
-- KEYS: the bucket
-- ARGV: how many it holds, ms in which one more comes, how many are wished for (below 0: so many are given back), '1' if all
-- of them or none, how many may ever be taken at a time
-- Answers [how many were taken, how many are left, ms until enough can be had].
-- Invariants: what is kept is when the bucket is full again, so that an untouched one is no key at all. In any span no
-- more are taken than the bucket holds and than have come in that span; but for more at a time than it holds, which a full
-- bucket gives, and is empty for as much longer. It is never emptier than that makes it: if the server's clock was ahead
-- and went back, nobody waits until it is there again.
local capacity, pace, wished = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local needed = ARGV[4] == '1' and math.min(wished, capacity) or 1
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local emptiest = now + math.max(capacity, tonumber(ARGV[5])) * pace
local full = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now), emptiest)
local left = math.max(math.floor(capacity - (full - now) / pace + 0.000001), 0)
if left < needed then return {0, left, math.ceil(full - now - (capacity - needed) * pace)} end
local taken = ARGV[4] == '1' and wished or math.min(wished, left)
full = full + taken * pace
if full <= now then
  redis.call('DEL', KEYS[1])
  return {taken, capacity, 0}
end
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(full - now))
return {taken, math.max(left - taken, 0), 0}
