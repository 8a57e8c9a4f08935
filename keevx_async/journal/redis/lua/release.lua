-- Give up a claim, if it is still in force.

local key, token = unpack(ARGV, 3)
if attempt_of(key, token) then redis.call('HDEL', P .. 'holders', key) end
return 1
