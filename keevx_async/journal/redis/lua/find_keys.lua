-- Return the keys between two positions in the order of writing, both inclusive.

return redis.call('ZRANGE', P .. 'order', ARGV[3], ARGV[4])
