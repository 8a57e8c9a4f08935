-- Record a create's ids, whoever holds it now, and keep those that it has. Its holder gives it up:
-- nothing is left to do for it, and a script for that alone is saved.
--
-- Returns {'freed', the ids that it had and the answer did not bring} where it was given up, {'ok',
-- the same} where it was not its, or {'missing'}.

allow_oom()
local key, ids = unpack(ARGV, 3)
if not get(key, 'state') then return {'missing'} end
local others = table.concat(without(ids_of(key), ids), ' ')
add(key, ids)
explain(key, '')
move(key, 'submitted')
-- A create that was begun after the fleet stopped was made: it works again.
local stopped = string.match(redis.call('HGET', P .. 'notes', 'stopped') or '', '^%S+')
if stopped and tonumber(get(key, 'at')) > tonumber(stopped) then
  redis.call('HDEL', P .. 'notes', 'stopped')
end
if holder_of(key) ~= me then return {'ok', others} end
redis.call('HDEL', P .. 'holders', key)
return {'freed', others}
