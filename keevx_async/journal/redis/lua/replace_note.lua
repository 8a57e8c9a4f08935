-- Store a short text under a name, if the current text is still as expected; '' means none.
--
-- Returns the current text.

local name, text, expected = unpack(ARGV, 3)
local old = redis.call('HGET', P .. 'notes', name)
if (old or '') ~= expected then return old or '' end
redis.call('HSET', P .. 'notes', name, text)
return text
