-- Return the key of the create to which a task id belongs.

return redis.call('HGET', P .. 'owners', ARGV[3])
