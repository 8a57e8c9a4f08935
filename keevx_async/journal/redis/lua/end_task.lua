-- Record a task's end, and the path of its downloaded result; an older path is kept.

allow_oom()
local id, outcome, record, file = unpack(ARGV, 3)
end_task(id, outcome, record)
if file ~= '' then redis.call('HSET', P .. 'files', id, file) end
return 1
