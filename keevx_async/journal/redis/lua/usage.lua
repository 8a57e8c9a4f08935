-- Return the results that were made, or may have been made, by group.

return redis.call('HGETALL', P .. 'usage')
