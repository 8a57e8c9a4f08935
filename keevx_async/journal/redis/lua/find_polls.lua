-- Return, for each task id, the state of its next poll; false if none is scheduled.

local answers = {}
for n = 3, #ARGV do answers[#answers + 1] = redis.call('HGET', P .. 'polls', ARGV[n]) end
return answers
