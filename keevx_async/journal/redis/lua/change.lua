-- Record that a create is uncertain, refused or planned. Only its holder may.
--
-- A submitted create stays submitted. A create with ids was made, whatever its holder says, so it
-- stays uncertain. Returns {'ok'}, {'missing'} or {'taken'}.

allow_oom()
local key, state, reason, ids = unpack(ARGV, 3)
local old = get(key, 'state')
if not old then return {'missing'} end
if holder_of(key) ~= me then return {'taken'} end
add(key, ids)
if old == 'submitted' then return {'ok'} end
if state ~= 'uncertain' and ids_of(key) ~= '' then
  state = 'uncertain'
  if reason == '' then reason = 'callbacks reported its tasks' end
end
explain(key, reason)
move(key, state)
return {'ok'}
