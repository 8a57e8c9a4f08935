-- Add ids that Keevx confirmed, whatever the create's state.
--
-- A create that is being sent keeps its state: its holder's next write adds to these ids. Returns
-- {} if it does not exist, else {whether it is held, its hash as it was before}.

allow_oom()
local key, count, ids = unpack(ARGV, 3)
local state, held = get(key, 'state'), is_held(key)
if not state then return {} end
local before = {held and 1 or 0, all(key)}
local is_sent = state == 'sending' and held
if add(key, ids) == 0 or state == 'submitted' or is_sent then return before end
local reported = #without(ids_of(key), '')
if reported >= tonumber(count) then
  explain(key, '')
  move(key, 'submitted')
else
  explain(key, string.format('callbacks reported %d of its %s tasks', reported, count))
  move(key, 'uncertain')
end
return before
