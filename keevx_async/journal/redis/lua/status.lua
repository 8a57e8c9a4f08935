-- Return how many 429s there were, the rate or '', and for how many milliseconds creates have been
-- held, or 0 if they are not held.

local now, held = time(ARGV[3]), tonumber(redis.call('GET', P .. 'held') or '0')
local since = tonumber(redis.call('HGET', P .. 'notes', 'held since') or '0') * 1000
return {
  redis.call('HGET', P .. 'counts', 'throttled') or '0',
  redis.call('HGET', P .. 'notes', 'rate') or '',
  held > now and math.ceil(now - since) or 0
}
