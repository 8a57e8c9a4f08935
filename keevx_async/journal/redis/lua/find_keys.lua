-- Return the keys from one place in the order of writing to another, both included.

return redis.call('ZRANGE', P .. 'order', ARGV[3], ARGV[4])
