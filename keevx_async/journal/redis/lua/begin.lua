-- Record the intent to send a create, if the caller still holds it, and extend the lease. A copy of
-- a call that was run before records nothing more.
--
-- If there are limits, the create must fit in them together with everything that was made or may
-- have been made. The arguments are three limits ('' for none), of results, seconds and cost; then
-- alternating names and prices, most specific name first. Returns {'ok'}; {'taken'} if another
-- holder has it; {'submitted'}; {'made'} if it has ids; or {'over', the usage} if it does not fit,
-- in which case nothing was recorded.

local lease, key, token, attempt, kind, body, at = unpack(ARGV, 3)
local limits = {unpack(ARGV, 10, 12)}
local state = get(key, 'state')
if state == 'submitted' then return {'submitted'} end
local last_attempt = attempt_of(key, token)
if not last_attempt then return {'taken'} end
if get(key, 'ids') then return {'made'} end
if tonumber(attempt) <= last_attempt then
  extend_lease(lease)
  return {'ok'}
end

-- An uncertain create that is sent again counts twice, because it may be made twice. Within one claim
-- it counts only once more, because attempts are repeated only after a certain refusal.
local group, results = group_of(kind, body)
local is_doubted = state == 'sending' or state == 'uncertain'
local is_counted = is_doubted and get(key, 'again') == me .. token

local prices = {}
for n = 13, #ARGV, 2 do prices[ARGV[n]] = tonumber(ARGV[n + 1]) end
local function worth(its_group)
  local its_kind, model, resolution, duration = string.match(its_group, '^(.-)|(.*)|(.-)|(%d+)$')
  local price = prices[model .. '/' .. resolution] or prices[model] or prices[its_kind] or 0
  duration = tonumber(duration)
  return {1, duration, price * (duration > 0 and duration or 1)}
end
if #limits > 0 and not is_counted then
  local usage, spent = redis.call('HGETALL', P .. 'usage'), {0, 0, 0}
  for n = 1, #usage, 2 do
    for unit, value in ipairs(worth(usage[n])) do
      spent[unit] = spent[unit] + value * tonumber(usage[n + 1])
    end
  end
  for unit, value in ipairs(worth(group)) do
    local limit = tonumber(limits[unit])
    if limit and value > 0 and spent[unit] + value * results > limit then return {'over', usage} end
  end
end

if is_doubted and not is_counted then
  use(group, results)
  set(key, 'again', me .. token)
end
set_claim(key, token, attempt)
if state then
  set(key, 'at', at)
  explain(key, '')
  move(key, 'sending')
else
  put(key, 'sending', me, kind, body, at)
end
extend_lease(lease) -- last, because a full Redis refuses the intent
return {'ok'}
