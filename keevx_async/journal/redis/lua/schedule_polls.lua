-- Schedule the first polls of some tasks. A poll that is already scheduled is left unchanged, and
-- an ended task is not polled again, since its create was redelivered.
--
-- The arguments for each task are its id, the milliseconds until it is polled, and the poll's
-- state.

allow_oom()
local now, n = time(ARGV[3]), 4
while ARGV[n] do
  local id, wait, state = unpack(ARGV, n, n + 2)
  if redis.call('HEXISTS', P .. 'polls', id) == 0 and not has_ended(id) then
    redis.call('HSET', P .. 'polls', id, state)
    redis.call('ZADD', P .. 'due', string.format('%.0f', now + wait), id)
  end
  n = n + 3
end
return 1
