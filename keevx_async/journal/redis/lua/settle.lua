-- Record what became of an uncertain create; its existing ids are kept.
--
-- The token makes a repeated call return the same as the first call. Returns {'ok'}, {'closed', its
-- state}, or {'made', its ids} if it has ids and so cannot be settled without any.

allow_oom()
local key, token, ids = unpack(ARGV, 3)
if redis.call('EXISTS', P .. 'done:' .. token) == 1 then return {'ok'} end
local state, old = get(key, 'state'), ids_of(key)
local is_open = state == 'uncertain' or (state == 'sending' and not is_held(key))
if state == 'submitted' then is_open = #without(old, ids) == 0 and #without(ids, old) > 0 end
if not is_open then return {'closed', state or ''} end
if ids == '' and old ~= '' then return {'made', old} end
add(key, ids)
explain(key, '')
move(key, ids == '' and 'planned' or 'submitted')
redis.call('SET', P .. 'done:' .. token, '1', 'PX', '600000')
return {'ok'}
