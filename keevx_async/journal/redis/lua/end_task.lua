-- Record a task's end, and where its result was downloaded to; an older path is kept.
--
-- The outcome is '+' for a success, '-' for a failure, and '?' for no end: it was abandoned
-- without a result.

allow_oom()
local id, outcome, record, file = unpack(ARGV, 3)
local names = {['+'] = 'succeeded', ['-'] = 'failed'}
local old = redis.call('HGET', P .. 'tasks', id)
if old and names[string.sub(old, 1, 1)] then count(names[string.sub(old, 1, 1)], -1) end
if names[outcome] then count(names[outcome], 1) end
redis.call('HSET', P .. 'tasks', id, outcome .. record)
if file ~= '' then redis.call('HSET', P .. 'files', id, file) end
return 1
