-- Return the results that were made, or may have been, by their group.

return redis.call('HGETALL', P .. 'usage')
