-- Record a create's ids, whoever holds it now, and keep its existing ids.
--
-- Returns {'ok', the ids that it had and the response did not contain}, or {'missing'}.

allow_oom()
local key, ids = unpack(ARGV, 3)
if not get(key, 'state') then return {'missing'} end
local others = table.concat(without(ids_of(key), ids), ' ')
add(key, ids)
explain(key, '')
move(key, 'submitted')
return {'ok', others}
