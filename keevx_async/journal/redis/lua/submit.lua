-- Record a create's ids, whoever holds it now, and keep the ids that it has. If the caller holds the
-- create, its claim ends, which saves a script.
--
-- Returns {'freed' if the caller held it, else 'ok'; the create's other ids}, or {'missing'}.

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
