-- Store a short text under a name.

redis.call('HSET', P .. 'notes', ARGV[3], ARGV[4])
return 1
