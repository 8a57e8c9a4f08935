-- Extend the holder's lease by ttl milliseconds.

extend_lease(ARGV[3])
return 1
