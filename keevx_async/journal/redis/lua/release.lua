-- Give up a claim, unless another holder has taken over the create.

if holder_of(ARGV[3]) == me then redis.call('HDEL', P .. 'holders', ARGV[3]) end
return 1
