-- Hold the fleet's creates for some milliseconds, unless they are already held for longer.
--
-- Returns 1 if they were not held before.

local clock, lasts = unpack(ARGV, 3)
local now, held = time(clock), tonumber(redis.call('GET', P .. 'held') or '0')
local til = now + tonumber(lasts)
count('throttled', 1)
if held < til then redis.call('SET', P .. 'held', string.format('%.0f', til), 'PX', lasts) end
if held > now then return 0 end
redis.call('HSET', P .. 'notes', 'held since', string.format('%.3f', now / 1000))
return 1
