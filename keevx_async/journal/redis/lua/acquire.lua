-- Take a turn of the fleet's rate, unless its creates are held.
--
-- The rate is in the note "rate", in creates per second. Turns are counted by GCRA: "turn" is when
-- the next turn is due if all earlier turns are taken evenly; as many turns as the burst may be
-- taken ahead. Times are milliseconds of the server's clock. A turn that is due within the third
-- argument's milliseconds is taken, for the caller to wait for; otherwise none is taken. Returns
-- {milliseconds to wait, the rate or '', whether creates are held, whether a turn was taken}.

local clock, burst_share, ahead = unpack(ARGV, 3)
local now, held = time(clock), tonumber(redis.call('GET', P .. 'held') or '0')
local rate = redis.call('HGET', P .. 'notes', 'rate') or ''
if held > now then return {math.ceil(held - now), rate, 1, 0} end
if rate == '' then return {0, rate, 0, 1} end
local interval = 1000 / tonumber(rate)
local burst = math.max(1, math.floor(tonumber(rate) * tonumber(burst_share)))
local turn = math.max(now, tonumber(redis.call('GET', P .. 'turn') or '0'))
local function save(turn)
  local lasts = string.format('%.0f', math.ceil(burst * interval) + 1000)
  redis.call('SET', P .. 'turn', string.format('%.3f', turn), 'PX', lasts)
end
local latest = now + burst * interval + ahead -- after a turn that was taken as early as it may be
if turn > latest then -- the rate was raised: what a lower one left counts no more
  turn = latest
  save(turn)
end
local wait = math.ceil(turn - (burst - 1) * interval - now)
local is_taken = wait <= tonumber(ahead)
if is_taken then save(turn + interval) end
return {math.max(0, wait), rate, 0, is_taken and 1 or 0}
