-- Claim a create, and extend the lease.
--
-- Without a kind, the create is claimed whatever its request. Returns {'yours', its hash}; {'other',
-- the body it belongs to}; {'held', the holder's name} if another live holder has it; or {'had'} if
-- the key is numbered and this run has already submitted it. A create that a dead holder was
-- sending is uncertain from here on.

local lease, key, token, kind, body, numbered, died = unpack(ARGV, 3)
local its_kind = get(key, 'kind')
if its_kind and kind ~= '' and (its_kind ~= kind or get(key, 'body') ~= body) then
  return {'other', get(key, 'body')}
end
if is_others(key) then return {'held', name_of(holder_of(key))} end
local state, is_numbered = get(key, 'state'), numbered == '1'
if (fence_of(key) or 0) < tonumber(token) then -- otherwise this is a copy of an earlier call
  if is_numbered then
    if get(key, 'run') == me and state ~= 'planned' and state ~= 'refused' then return {'had'} end
    if state then set(key, 'run', me) end
  end
  -- A submitted create is never sent again, so nobody needs to hold it; only a numbered claim must
  -- be recognized if it is repeated.
  if is_numbered or state ~= 'submitted' then set_claim(key, token, 0) end
  if state == 'sending' then
    explain(key, died)
    move(key, 'uncertain')
  end
end
extend_lease(lease)
return {'yours', all(key)}
