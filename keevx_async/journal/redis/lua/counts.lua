-- Return the number of creates that dead holders were sending, then alternating names and numbers:
-- of creates per state, and of tasks ended.

local died = 0
for _, key in ipairs(redis.call('SMEMBERS', P .. 'sending')) do
  if not is_held(key) then died = died + 1 end
end
return {died, redis.call('HGETALL', P .. 'counts')}
