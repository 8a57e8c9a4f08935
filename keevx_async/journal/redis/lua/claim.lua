-- Claim a create, and extend the lease.
--
-- Returns {'yours', its hash}; {'other', the body it belongs to}; {'held', the holder's name} if
-- another live holder has it; or {'had'} if the key is numbered and this run has already submitted
-- it. A create that a dead holder was sending is uncertain from here on.

local lease, key, token, kind, body, numbered, died = unpack(ARGV, 3)
local its_kind = get(key, 'kind')
if its_kind and (its_kind ~= kind or get(key, 'body') ~= body) then
  return {'other', get(key, 'body')}
end
if is_others(key) then return {'held', name_of(holder_of(key))} end
local state = get(key, 'state')
if numbered == '1' and claim_of(key) ~= me .. token then
  if get(key, 'run') == me and state ~= 'planned' and state ~= 'refused' then return {'had'} end
  if state then set(key, 'run', me) end
end
redis.call('HSET', P .. 'holders', key, me .. token)
if state == 'sending' then
  explain(key, died)
  move(key, 'uncertain')
end
extend_lease(lease)
return {'yours', all(key)}
