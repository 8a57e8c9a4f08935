-- Store a small text under a name, if the one there is still the one expected; '' for none.
--
-- Returns the text that is there now.

local name, text, expected = unpack(ARGV, 3)
local old = redis.call('HGET', P .. 'notes', name)
if (old or '') ~= expected then return old or '' end
redis.call('HSET', P .. 'notes', name, text)
return text
