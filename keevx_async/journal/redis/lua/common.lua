-- The common start of every script. ARGV[1] is the prefix of all keys, and ARGV[2] is the holder
-- that runs the script; a script's own arguments start at ARGV[3].
--
-- Each script is one atomic step, and may be run again with the same arguments if its reply was
-- lost. The first copy may even arrive late, after later calls: a closed connection still delivers
-- what was sent on it. docs/design.md lists what each repeated or late copy does. Scripts use only the commands that Docket's memory:// supports. All keys share a hash tag:
--
--   create:KEY     hash: kind, state, body, at, run; if any, reason, ids, again and replanned
--   order          sorted set of the creates' keys, in the order in which they were written
--   owners         hash: task id -> key of the create to which it belongs
--   holders        hash: key -> its claim: the holder's id, TOKEN:ATTEMPT
--   alive:HOLDER   the holder's name, while its lease lasts; it expires
--   sending        set: keys of the creates in that state, whose holders may have died
--   tasks, files   hashes: task id -> its end, and the path of its downloaded result
--   notes, counts  hashes: short texts; creates per state, tasks ended
--   polls, due     hash and sorted set: task id -> its poll's state, and when the poll is due
--   clock          when polls were last taken, in milliseconds
--   held           when creates may be sent again after a 429, in milliseconds; it expires then
--   turn           when the rate's next turn is due, in milliseconds; it expires later
--   usage          hash: kind|model|resolution|duration -> results made, or perhaps made
--   done:TOKEN     exists for ten minutes after a settlement

local P, me = ARGV[1], ARGV[2]

-- A script that starts with this can write even if Redis's memory is full, because Redis refuses
-- only scripts whose first write needs memory (flags=allow-oom in version 7 does the same).
local function allow_oom() redis.call('HDEL', P .. 'counts', '') end

-- The server's clock in milliseconds; memory:// has no clock and uses the caller's.
local function time(clock)
  local now = redis.pcall('TIME')
  if now.err then return tonumber(clock) end
  return now[1] * 1000 + now[2] / 1000
end

-- A create's fields.
local function get(key, name) return redis.call('HGET', P .. 'create:' .. key, name) end
local function set(key, ...) redis.call('HSET', P .. 'create:' .. key, ...) end
local function all(key) return redis.call('HGETALL', P .. 'create:' .. key) end

-- Its holder. All holder ids have the same length, so a claim starts with that many characters.
local function alive(holder) return redis.call('EXISTS', P .. 'alive:' .. holder) == 1 end
local function name_of(holder) return redis.call('GET', P .. 'alive:' .. holder) or '' end
local function extend_lease(lease) -- its milliseconds and the holder's name
  local ttl, name = string.match(lease, '^(%d+) (.*)$')
  if redis.call('PEXPIRE', P .. 'alive:' .. me, ttl) == 0 then
    redis.call('SET', P .. 'alive:' .. me, name, 'PX', ttl)
  end
end
local function claim_of(key) return redis.call('HGET', P .. 'holders', key) or '' end
local function holder_of(key) return string.sub(claim_of(key), 1, #me) end
-- The caller's claim: its token, and the number of attempts to send in it; nil if another holder or
-- nobody has the key. A holder's tokens count up. Each call carries its token, and if need be its
-- attempt, so that a copy that arrives late changes nothing.
local function fence_of(key)
  local token, attempt = string.match(claim_of(key), '^' .. me .. '(%d+):(%d+)$')
  return tonumber(token or ''), tonumber(attempt or '')
end
local function attempt_of(key, token)
  local its_token, attempt = fence_of(key)
  return its_token == tonumber(token) and attempt or nil
end
local function set_claim(key, token, attempt)
  redis.call('HSET', P .. 'holders', key, me .. token .. ':' .. attempt)
end
local function is_others(key)
  local holder = holder_of(key)
  return holder ~= '' and holder ~= me and alive(holder)
end
local function is_held(key) return holder_of(key) == me or is_others(key) end

-- Its use of a budget. Its body is compact JSON, in which quotes within strings are escaped, so a
-- quoted name followed by a colon is a field. Returns its group, and how many results it makes.
local function group_of(kind, body)
  local model = string.match(body, '"model":"([^"]*)"') or ''
  local resolution = string.match(body, '"aspect_resolution":"([^"]*)"') or ''
  local duration = string.match(body, '"duration":(%d+)') or '0'
  local results = tonumber(string.match(body, '"generate_count":(%d+)') or '1')
  return table.concat({kind, model, resolution, duration}, '|'), results
end
local function is_used(state)
  return state == 'sending' or state == 'submitted' or state == 'uncertain'
end
local function number_of(ids)
  local _, number = string.gsub(ids, '%S+', '')
  return number
end
local function use(group, by)
  if by ~= 0 then redis.call('HINCRBY', P .. 'usage', group, by) end
end

-- Its state. The counts and the usage are updated with each change, so nobody has to count. A
-- create counts as the results it requested or, if it has more ids, as its ids.
local function count(name, by) redis.call('HINCRBY', P .. 'counts', name, by) end
local function move(key, state)
  local old = get(key, 'state')
  if old == state then return end
  if old then count(old, -1) end
  count(state, 1)
  if state == 'sending' then redis.call('SADD', P .. 'sending', key)
  elseif old == 'sending' then redis.call('SREM', P .. 'sending', key) end
  set(key, 'state', state)
  if is_used(old) ~= is_used(state) then
    local group, results = group_of(get(key, 'kind'), get(key, 'body'))
    results = math.max(results, number_of(get(key, 'ids') or ''))
    use(group, is_used(state) and results or -results)
  end
end
local function put(key, state, run, kind, body, at)
  set(key, 'kind', kind, 'body', body, 'at', at, 'run', run)
  redis.call('ZADD', P .. 'order', redis.call('ZCARD', P .. 'order') + 1, key)
  move(key, state)
end
local function explain(key, reason)
  if reason == '' then redis.call('HDEL', P .. 'create:' .. key, 'reason')
  else set(key, 'reason', reason) end
end

-- Its ids, separated by spaces. Ids are only ever added.
local function has(ids, id) return string.find(' ' .. ids .. ' ', ' ' .. id .. ' ', 1, true) end
local function ids_of(key) return get(key, 'ids') or '' end
local function without(ids, others)
  local left = {}
  for id in string.gmatch(ids, '%S+') do
    if not has(others, id) then left[#left + 1] = id end
  end
  return left
end
local function add(key, ids)
  local all_ids, new = ids_of(key), 0
  for id in string.gmatch(ids, '%S+') do
    if not has(all_ids, id) then
      if not redis.call('HGET', P .. 'owners', id) then
        redis.call('HSET', P .. 'owners', id, key)
      end
      all_ids = all_ids == '' and id or all_ids .. ' ' .. id
      new = new + 1
    end
  end
  if new > 0 then
    set(key, 'ids', all_ids)
    if is_used(get(key, 'state')) then
      local group, results = group_of(get(key, 'kind'), get(key, 'body'))
      local now = number_of(all_ids)
      use(group, math.max(results, now) - math.max(results, now - new))
    end
  end
  return new
end

-- Record a task's end. The outcome is '+' for a success, '-' for a failure, and '?' if the task was
-- abandoned without a result. '?' never replaces an end, which another worker may have seen while a
-- slow worker gave up.
local ENDS = {['+'] = 'succeeded', ['-'] = 'failed'}
local function has_ended(id)
  return ENDS[string.sub(redis.call('HGET', P .. 'tasks', id) or '', 1, 1)]
end
local function end_task(id, outcome, record)
  local old = has_ended(id)
  if old and not ENDS[outcome] then return end
  if old then count(old, -1) end
  if ENDS[outcome] then count(ENDS[outcome], 1) end
  redis.call('HSET', P .. 'tasks', id, outcome .. record)
end

