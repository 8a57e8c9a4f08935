-- Write the outcomes of some polls, and take polls that are due.
--
-- The arguments for each poll are the task's id, the milliseconds until the next poll or '' if
-- there is none, its state, and the outcome and record of the task's end or ''. A taken poll is due
-- again after the hold, in case its worker dies. Returns {the taken polls as {id, state}, the
-- milliseconds until the next poll is due, or -1 if none is scheduled}.
--
-- If the server's clock was set back, or a replica with a slower clock took over, all polls are
-- moved earlier by the difference; otherwise they would stand still until the clock caught up.

local CLOCK_TOLERANCE = 2000 -- milliseconds

allow_oom()
local clock, limit, hold = unpack(ARGV, 3, 5)
local now, n = time(clock), 6
local function put(id, wait)
  redis.call('ZADD', P .. 'due', string.format('%.0f', now + wait), id)
end
local function remove(id)
  redis.call('ZREM', P .. 'due', id)
  redis.call('HDEL', P .. 'polls', id)
end
local last_taken = tonumber(redis.call('GET', P .. 'clock') or '0')
if last_taken - now > CLOCK_TOLERANCE then
  local scores = redis.call('ZRANGE', P .. 'due', 0, -1, 'WITHSCORES')
  for each = 1, #scores, 2 do put(scores[each], tonumber(scores[each + 1]) - last_taken) end
end
redis.call('SET', P .. 'clock', string.format('%.0f', now))
while ARGV[n] do
  local id, wait, state, outcome, record = unpack(ARGV, n, n + 4)
  if outcome ~= '' then end_task(id, outcome, record) end
  if wait == '' then remove(id)
  elseif redis.call('HEXISTS', P .. 'polls', id) == 1 then -- otherwise another worker saw its end
    redis.call('HSET', P .. 'polls', id, state)
    put(id, wait)
  end
  n = n + 5
end
local taken = {}
if tonumber(limit) > 0 then
  local last = string.format('%.0f', now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', last, 'LIMIT', 0, limit)) do
    local state = redis.call('HGET', P .. 'polls', id)
    if state then
      put(id, hold)
      taken[#taken + 1] = {id, state}
    else
      remove(id)
    end
  end
end
local first = redis.call('ZRANGE', P .. 'due', 0, 0)[1]
if not first then return {taken, -1} end
local due = tonumber(redis.call('ZSCORE', P .. 'due', first))
return {taken, math.max(0, math.ceil(due - now))}
