-- End the holder's lease, which frees all of its claims at once.

redis.call('DEL', P .. 'alive:' .. me)
return 1
