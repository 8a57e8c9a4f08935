-- Extend the holder's lease. The argument is its milliseconds and the holder's name.

extend_lease(ARGV[3])
return 1
