-- Record a create as planned: under a name, or as the first of equal creates that this run has not
-- planned yet. The token makes a repeated call return the same as the first call.
--
-- A refused create is planned again, once per call; otherwise its waiters would get the old refusal.
-- Returns {'new', key}; {'existing', key, whether it is held, its hash, whether this call plans it
-- again}; or {'other', the body to which the name belongs}.

local token, kind, body, at, run, named, stem, n = unpack(ARGV, 3)
local by = run .. ':' .. token
local function is_other(key) return get(key, 'kind') ~= kind or get(key, 'body') ~= body end
local function new(key, by)
  put(key, 'planned', by, kind, body, at)
  return {'new', key}
end
local function existing(key)
  local is_again = get(key, 'replanned') == by -- a copy of this call has planned it again
  if not is_again and get(key, 'state') == 'refused' and not is_held(key) then
    is_again = true
    explain(key, '')
    move(key, 'planned')
    set(key, 'replanned', by)
  end
  return {'existing', key, is_held(key) and 1 or 0, all(key), is_again and 1 or 0}
end
if named ~= '' then
  if not get(named, 'state') then return new(named, run) end
  if is_other(named) then return {'other', get(named, 'body')} end
  return existing(named)
end
n = tonumber(n)
while true do
  local key = string.format('%s-%d', stem, n)
  local its = get(key, 'run')
  if not its then return new(key, by) end
  local is_ours = string.sub(its, 1, -#token - 1) == run .. ':'
  if not is_other(key) and (its == by or not is_ours) then
    set(key, 'run', by)
    return existing(key)
  end
  n = n + 1
end
