-- Return the text stored under a name.

return redis.call('HGET', P .. 'notes', ARGV[3])
