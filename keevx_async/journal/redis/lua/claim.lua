-- Claim a create for a lease of ttl milliseconds.
--
-- Returns {'yours', its hash}, {'other', the body it belongs to}, {'held'} where another holder
-- that is alive has it, or {'had'}: the key is a number, and this run has submitted it already.

local ttl, key, token, kind, body, numbered = unpack(ARGV, 3)
extend_lease(ttl)
local its_kind = get(key, 'kind')
if its_kind and (its_kind ~= kind or get(key, 'body') ~= body) then
  return {'other', get(key, 'body')}
end
if is_others(key) then return {'held'} end
if numbered == '1' and claim_of(key) ~= me .. token then
  local state = get(key, 'state')
  if get(key, 'run') == me and state ~= 'planned' and state ~= 'refused' then return {'had'} end
  if state then set(key, 'run', me) end
end
redis.call('HSET', P .. 'holders', key, me .. token)
return {'yours', all(key)}
