-- Return the number of creates per state and of tasks ended, names and numbers in turn, after the
-- number of creates that dead holders were sending.

local died = 0
for _, key in ipairs(redis.call('SMEMBERS', P .. 'sending')) do
  if not is_held(key) then died = died + 1 end
end
return {died, redis.call('HGETALL', P .. 'counts')}
