-- End the holder's lease: all that it has claimed is free at once.

redis.call('DEL', P .. 'alive:' .. me)
return 1
