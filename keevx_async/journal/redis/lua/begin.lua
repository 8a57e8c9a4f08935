-- Record the intent to send a create, if it is still its holder's, and extend the lease.
--
-- Returns {'ok'}, {'taken'} where another has it, {'submitted'}, or {'made'}: it has ids.

local lease, key, kind, body, at = unpack(ARGV, 3)
if holder_of(key) ~= me then return {'taken'} end
local state = get(key, 'state')
if state == 'submitted' then return {'submitted'} end
if get(key, 'ids') then return {'made'} end
if state then
  set(key, 'at', at)
  explain(key, '')
  move(key, 'sending')
else
  put(key, 'sending', me, kind, body, at)
end
extend_lease(lease) -- last: a Redis that is full refuses the intent
return {'ok'}
