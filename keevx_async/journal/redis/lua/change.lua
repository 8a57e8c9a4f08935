-- Record that a create is uncertain, refused or planned. Only its holder may.
--
-- A submitted create stays submitted, and its ids are added whoever calls, since nobody holds it. A
-- create that has ids was made, so it stays uncertain. Nothing changes if a newer attempt to send
-- the create has begun. Returns {'ok'}, {'missing'} or {'taken'}.

allow_oom()
local key, token, attempt, state, reason, ids = unpack(ARGV, 3)
local old = get(key, 'state')
if not old then return {'missing'} end
if old == 'submitted' then
  add(key, ids)
  return {'ok'}
end
local last_attempt = attempt_of(key, token)
if not last_attempt then return {'taken'} end
if tonumber(attempt) < last_attempt then return {'ok'} end
add(key, ids)
if state ~= 'uncertain' and ids_of(key) ~= '' then
  state = 'uncertain'
  if reason == '' then reason = 'callbacks reported its tasks' end
end
explain(key, reason)
move(key, state)
return {'ok'}
