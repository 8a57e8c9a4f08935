-- Return the key of the create that a task id belongs to.

return redis.call('HGET', P .. 'owners', ARGV[3])
