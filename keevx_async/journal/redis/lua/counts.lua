-- Return the number of creates per state and of tasks ended.

return redis.call('HGETALL', P .. 'counts')
