"""What is done to the journal in Redis: Lua, so that each transition is one atomic step.

Each script may be run again with the same arguments when its answer was lost. They keep to the
commands that Docket's ``memory://`` knows. All keys lie under one hash tag.

=====================  ====================================================================
``create:KEY``         hash: kind, state, body, at, run; reason and ids where there are any
``order``              sorted set of the creates' keys, in the order they were written
``owners``             hash: task id -> key of the create that was given it
``holders``            hash: key -> who works on it (holder and token of the claim)
``alive:HOLDER``       there while the holder is; it expires
``tasks``, ``files``   hashes: task id -> its end, and where its result was brought
``notes``, ``counts``  hashes: small texts; creates per state, tasks ended
``done:TOKEN``         there for a while after a settlement
=====================  ====================================================================
"""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple

HOLDER = 12
"""Characters of a holder's id; the token of a claim follows it."""
TOKEN = 6
"""Characters of a token, which tells a repeated call from another."""

_COMMON = f"""
local P, me = ARGV[1], ARGV[2]
local function get(key, name) return redis.call('HGET', P .. 'create:' .. key, name) end
local function set(key, ...) redis.call('HSET', P .. 'create:' .. key, ...) end
local function all(key) return redis.call('HGETALL', P .. 'create:' .. key) end
local function alive(holder) return redis.call('EXISTS', P .. 'alive:' .. holder) == 1 end
local function live(ttl) redis.call('SET', P .. 'alive:' .. me, '1', 'PX', ttl) end
local function count(what, by) redis.call('HINCRBY', P .. 'counts', what, by) end
local function claim_of(key) return redis.call('HGET', P .. 'holders', key) or '' end
local function holder_of(key) return string.sub(claim_of(key), 1, {HOLDER}) end
local function is_others(key)
  local holder = holder_of(key)
  return holder ~= '' and holder ~= me and alive(holder)
end
local function is_held(key) return holder_of(key) == me or is_others(key) end
local function move(key, state)
  local old = get(key, 'state')
  if old == state then return end
  if old then count(old, -1) end
  count(state, 1)
  set(key, 'state', state)
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
"""

_IDS = """
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
  if new > 0 then set(key, 'ids', all_ids) end
  return new
end
"""


class Script(NamedTuple):
    """A script, and the name that the server knows it by."""

    source: str
    sha: str


def _script(*parts: str) -> Script:
    source = "".join((_COMMON, *parts))
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


CLAIM = _script(
    """
local ttl, key, token, kind, body, numbered = unpack(ARGV, 3)
live(ttl)
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
""",
)
"""Take a create, unless another who is alive has it."""

RELEASE = _script(
    """
if holder_of(ARGV[3]) == me then redis.call('HDEL', P .. 'holders', ARGV[3]) end
return 1
""",
)

LIVE = _script("live(ARGV[3]) return 1")
DIE = _script("redis.call('DEL', P .. 'alive:' .. me) return 1")

BEGIN = _script(
    """
local ttl, key, kind, body, at = unpack(ARGV, 3)
if holder_of(key) ~= me then return {'taken'} end
local state = get(key, 'state')
if state == 'submitted' then return {'submitted'} end
if get(key, 'ids') then return {'made'} end
live(ttl)
if state then
  set(key, 'at', at)
  explain(key, '')
  move(key, 'sending')
else
  put(key, 'sending', me, kind, body, at)
end
return {'ok'}
""",
)
"""Write an intent, if the create is still its holder's, who then has a whole lease of life."""

SUBMITTED = _script(
    _IDS,
    """
local key, ids = unpack(ARGV, 3)
if not get(key, 'state') then return {'missing'} end
local others = table.concat(without(ids_of(key), ids), ' ')
add(key, ids)
explain(key, '')
move(key, 'submitted')
return {'ok', others}
""",
)
"""Write ids, whoever holds the create now; keep those that it has."""

CHANGE = _script(
    _IDS,
    """
local key, state, reason, ids = unpack(ARGV, 3)
local old = get(key, 'state')
if not old then return {'missing'} end
if holder_of(key) ~= me then return {'taken'} end
add(key, ids)
if old == 'submitted' then return {'ok'} end
if state ~= 'uncertain' and ids_of(key) ~= '' then
  state = 'uncertain'
  if reason == '' then reason = 'callbacks have told of its tasks' end
end
explain(key, reason)
move(key, state)
return {'ok'}
""",
)
"""Write that a create is uncertain, was refused or is to be made.

A submitted one stays so, and one that has ids was made, whatever its holder heard.
"""

SETTLE = _script(
    _IDS,
    """
local key, token, ids = unpack(ARGV, 3)
if redis.call('EXISTS', P .. 'done:' .. token) == 1 then return {'ok'} end
local state, old = get(key, 'state'), ids_of(key)
local open = state == 'uncertain' or (state == 'sending' and not is_held(key))
if state == 'submitted' then open = #without(old, ids) == 0 and #without(ids, old) > 0 end
if not open then return {'closed', state or ''} end
if ids == '' and old ~= '' then return {'made', old} end
add(key, ids)
explain(key, '')
move(key, ids == '' and 'planned' or 'submitted')
redis.call('SET', P .. 'done:' .. token, '1', 'PX', '600000')
return {'ok'}
""",
)
"""Write what became of an uncertain create; ids that it has stay."""

ADD_IDS = _script(
    _IDS,
    """
local key, count, ids = unpack(ARGV, 3)
local state, held = get(key, 'state'), is_held(key)
if not state then return {} end
local before = {held and 1 or 0, all(key)}
local is_sent = state == 'sending' and held
if add(key, ids) == 0 or state == 'submitted' or is_sent then return before end
local known = #without(ids_of(key), '')
if known >= tonumber(count) then
  explain(key, '')
  move(key, 'submitted')
else
  explain(key, string.format('callbacks have told of %d of its %s tasks', known, count))
  move(key, 'uncertain')
end
return before
""",
)
"""Add ids that Keevx confirmed, whatever the create's state; return the hash as it was before.

One that is being sent stays so: what its holder writes next adds to these ids.
"""

FIND = _script(
    """
local found = {}
for n = 3, #ARGV do found[#found + 1] = {is_held(ARGV[n]) and 1 or 0, all(ARGV[n])} end
return found
""",
)
"""Return each key's hash, and whether someone who is alive works on it."""

ADD = _script(
    """
local token, kind, body, at, run, named, stem, n = unpack(ARGV, 3)
local function is_other(key) return get(key, 'kind') ~= kind or get(key, 'body') ~= body end
local function new(key, by)
  put(key, 'planned', by, kind, body, at)
  return {'new', key}
end
local function there(key)
  local found = {'there', key, is_held(key) and 1 or 0, all(key)}
  if get(key, 'state') == 'refused' and not is_held(key) then
    explain(key, '')
    move(key, 'planned')
  end
  return found
end
if named ~= '' then
  if not get(named, 'state') then return new(named, run) end
  if is_other(named) then return {'other', get(named, 'body')} end
  return there(named)
end
n = tonumber(n)
while true do
  local key, by = string.format('%s-%d', stem, n), run .. ':' .. token
  local its = get(key, 'run')
  if not its then return new(key, by) end
  local is_ours = string.sub(its, 1, -#token - 1) == run .. ':'
  if not is_other(key) and (its == by or not is_ours) then
    set(key, 'run', by)
    return there(key)
  end
  n = n + 1
end
""",
)
"""Write a create as planned: under a name, or the first of its equals that this run had not.

What was refused is planned anew, else whoever waits for it would be told of the old refusal.
"""

END = _script(
    """
local id, outcome, record, file = unpack(ARGV, 3)
local names = {['+'] = 'succeeded', ['-'] = 'failed'}
local old = redis.call('HGET', P .. 'tasks', id)
if old and names[string.sub(old, 1, 1)] then count(names[string.sub(old, 1, 1)], -1) end
if names[outcome] then count(names[outcome], 1) end
redis.call('HSET', P .. 'tasks', id, outcome .. record)
if file ~= '' then redis.call('HSET', P .. 'files', id, file) end
return 1
""",
)
"""Write a task's end, and where its result is; an older end's place is kept.

``+`` is a success, ``-`` a failure; ``?`` no end: it was given up without a result.
"""

TASKS = _script(
    """
local found = {}
for n = 3, #ARGV do
  found[#found + 1] = {
    redis.call('HGET', P .. 'tasks', ARGV[n]), redis.call('HGET', P .. 'files', ARGV[n])
  }
end
return found
""",
)

KEYS = _script("return redis.call('ZRANGE', P .. 'order', ARGV[3], ARGV[4])")
OWNER = _script("return redis.call('HGET', P .. 'owners', ARGV[3])")
NOTE = _script("redis.call('HSET', P .. 'notes', ARGV[3], ARGV[4]) return 1")
NOTED = _script("return redis.call('HGET', P .. 'notes', ARGV[3])")
COUNTS = _script("return redis.call('HGETALL', P .. 'counts')")
