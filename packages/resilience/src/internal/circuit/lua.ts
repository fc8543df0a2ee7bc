/**
 * The circuit as a script for Redis: the same state machine as `machine.ts`, on
 * a record that is kept as JSON under one key. A test drives both with the same
 * histories.
 *
 * All times are milliseconds. What `machine.ts` keeps in memory only, such as
 * the phase of a time window's slices, is kept in the record.
 */

/** The server's clock, in microseconds. */
export const serverClock = `
local time = redis.call("TIME")
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
`

/** Counting: `trip.ts` and `timeWindow.ts`. */
const counting = `
local function zeros() return { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } end

local function makeCounter(trip)
  local tag = trip._tag
  if tag == "Consecutive" then return { t = tag, of = trip.of, run = 0 } end
  if tag == "CountWindow" then return { t = tag, ring = "", f = 0, s = 0 } end
  if tag == "TimeWindow" then
    return { t = tag, slice = trip.window / 10, at = 0, calls = zeros(), f = zeros(), s = zeros() }
  end
  local parts = {}
  for i, part in ipairs(trip.trips) do parts[i] = makeCounter(part) end
  return { t = tag, parts = parts }
end

local function advance(counter)
  local reached = math.floor(now / counter.slice)
  -- A clock that went back by more than the window would stop the window from moving.
  if counter.at - reached > 10 then counter.at = reached end
  if reached <= counter.at then return end
  for slice = math.max(counter.at + 1, reached - 9), reached do
    local i = slice % 10 + 1
    counter.calls[i], counter.f[i], counter.s[i] = 0, 0, 0
  end
  counter.at = reached
end

local function sum(list)
  local total = 0
  for i = 1, 10 do total = total + list[i] end
  return total
end

local function bitsOf(char) return char == "1" or char == "3", char == "2" or char == "3" end

local function push(counter, size, char)
  local failed, slow = bitsOf(char)
  counter.ring = counter.ring .. char
  if failed then counter.f = counter.f + 1 end
  if slow then counter.s = counter.s + 1 end
  while #counter.ring > size do
    failed, slow = bitsOf(string.sub(counter.ring, 1, 1))
    if failed then counter.f = counter.f - 1 end
    if slow then counter.s = counter.s - 1 end
    counter.ring = string.sub(counter.ring, 2)
  end
end

-- Whether what is kept was changed by reading it.
local changed = false

-- The counter of a rule, which goes on from another one as far as that is of the same kind.

local function conform(trip, counter)
  local tag = trip._tag
  if counter == nil or counter.t ~= tag or (tag == "Consecutive" and counter.of ~= trip.of) then
    changed = true
    return makeCounter(trip)
  end
  if tag == "CountWindow" and #counter.ring > trip.size then
    changed = true
    local next = makeCounter(trip)
    for char in string.gmatch(counter.ring, ".") do push(next, trip.size, char) end
    return next
  end
  if tag == "TimeWindow" and counter.slice ~= trip.window / 10 then
    changed = true
    advance(counter)
    local next = makeCounter(trip)
    advance(next)
    for slice = math.max(0, counter.at - 9), counter.at do
      local to = math.min(next.at, math.floor((slice + 0.5) * counter.slice / next.slice))
      if to > next.at - 10 and to >= 0 then
        local i, j = slice % 10 + 1, to % 10 + 1
        next.calls[j] = next.calls[j] + counter.calls[i]
        next.f[j] = next.f[j] + counter.f[i]
        next.s[j] = next.s[j] + counter.s[i]
      end
    end
    return next
  end
  if trip.trips then
    local parts = {}
    for i, part in ipairs(trip.trips) do parts[i] = conform(part, counter.parts[i]) end
    counter.parts = parts
  end
  return counter
end

local function add(trip, counter, failed, slow)
  local tag = trip._tag
  if tag == "Consecutive" then
    local counts = slow
    if trip.of == "failures" then counts = failed end
    counter.run = counts and counter.run + 1 or 0
  elseif tag == "CountWindow" then
    push(counter, trip.size, tostring((failed and 1 or 0) + (slow and 2 or 0)))
  elseif tag == "TimeWindow" then
    advance(counter)
    local i = counter.at % 10 + 1
    counter.calls[i] = counter.calls[i] + 1
    if failed then counter.f[i] = counter.f[i] + 1 end
    if slow then counter.s[i] = counter.s[i] + 1 end
  else
    for i, part in ipairs(trip.trips) do add(part, counter.parts[i], failed, slow) end
  end
end

local function countsOf(trip, counter)
  local tag = trip._tag
  if tag == "Consecutive" then
    local failures = trip.of == "failures"
    return counter.run, failures and counter.run or 0, failures and 0 or counter.run
  end
  if tag == "CountWindow" then return #counter.ring, counter.f, counter.s end
  if tag == "TimeWindow" then return sum(counter.calls), sum(counter.f), sum(counter.s) end
  return countsOf(trip.trips[1], counter.parts[1])
end

local function judge(trip, counter)
  local tag = trip._tag
  if tag == "Consecutive" then return counter.run >= trip.times and "consecutive" or nil end
  if tag == "CountWindow" or tag == "TimeWindow" then
    local calls, failures, slow = countsOf(trip, counter)
    if calls < trip.minimumCalls then return nil end
    if trip.failureRate and failures / calls >= trip.failureRate then return "failure-rate" end
    if trip.slowRate and slow / calls >= trip.slowRate then return "slow-rate" end
    return nil
  end
  local first
  for i, part in ipairs(trip.trips) do
    local reason = judge(part, counter.parts[i])
    if tag == "AnyOf" and reason then return reason end
    if tag == "AllOf" and not reason then return nil end
    first = first or reason
  end
  return first
end

local function judgesSlow(trip)
  if trip._tag == "Consecutive" then return trip.of == "slow" end
  if trip.trips == nil then return trip.slowRate ~= nil end
  for _, part in ipairs(trip.trips) do
    if judgesSlow(part) then return true end
  end
  return false
end

local function longestWindow(trip)
  if trip.trips == nil then return trip.window or 0 end
  local longest = 0
  for _, part in ipairs(trip.trips) do longest = math.max(longest, longestWindow(part)) end
  return longest
end
`

/** The record of a key, its phases, and how long it is kept. */
const phases = `
local function int(n) return string.format("%.0f", n) end

-- An era is never used again, also when the record was lost in between: it is at least the server's time.
local function nextEra(era) return int(math.max((tonumber(era) or 0) + 1, micros)) end

local transitions = {}

local function become(phase, because)
  table.insert(transitions, {
    from = state.phase, to = phase, because = because, openFor = phase == "Open" and state.openFor or nil
  })
  state.phase = phase
  state.era = nextEra(state.era)
  state.since = now
  state.running, state.succeeded, state.failed, state.counter = {}, 0, 0, nil
end

local function close(because)
  become("Closed", because)
  state.counter = makeCounter(spec.trip)
end

local function nextOpening(hint)
  if state.phase == "Closed" and now - state.since >= state.openFor then state.openings = 0 end
  state.openings = state.openings + 1
  local delay = spec.openDurations[math.min(state.openings, #spec.openDurations)]
  return math.min(spec.maxOpenDuration, math.max(delay, hint or 0))
end

local function open(duration, because)
  state.openFor = duration
  become("Open", because)
  state.untilAt = now + duration
end

local function decide(hint)
  if state.phase ~= "HalfOpen" then return end
  if state.succeeded >= spec.probeThreshold then return close("probes-succeeded") end
  if state.failed > spec.probes - spec.probeThreshold then open(nextOpening(hint), "probes-failed") end
end

local function runningProbes()
  local count = 0
  for _, probe in ipairs(state.running) do
    if now - probe[2] < spec.probeTimeout then count = count + 1 end
  end
  return count
end

local function hasFreeSlot() return runningProbes() + state.succeeded + state.failed < spec.probes end

local function load()
  local text = redis.call("GET", key)
  if not text then
    return {
      phase = "Closed", era = nextEra(0), since = now, shadow = false, openings = 0, openFor = 0, token = 0,
      running = {}, succeeded = 0, failed = 0, counter = makeCounter(spec.trip)
    }, false
  end
  local loaded = cjson.decode(text)
  -- After a clock that went back nothing may last longer than it was to. It lasts from now on, and not from each read.
  local function atMost(time, latest)
    if time <= latest then return time end
    changed = true
    return latest
  end
  loaded.since = atMost(loaded.since, now)
  if loaded.untilAt then loaded.untilAt = atMost(loaded.untilAt, now + loaded.openFor) end
  for _, probe in ipairs(loaded.running) do probe[2] = atMost(probe[2], now) end
  if loaded.phase == "Closed" then loaded.counter = conform(spec.trip, loaded.counter) end
  return loaded, true
end

-- Kept for as long as it matters, and then for the idle time.
local function timeToLive()
  local matters = state.openFor + longestWindow(spec.trip)
  if state.phase == "Open" then matters = matters + math.max(0, state.untilAt - now) end
  if state.phase == "HalfOpen" then matters = matters + spec.probeTimeout end
  if state.phase == "Isolated" or state.phase == "Disabled" or state.shadow then matters = matters + manualTimeToLive end
  return int(math.min(2 ^ 50, math.ceil(matters + idleTimeToLive)))
end

local function save() redis.call("SET", key, cjson.encode(state), "PX", timeToLive()) end

local function view()
  local free
  if state.phase == "HalfOpen" then free = hasFreeSlot() end
  return {
    phase = state.phase,
    era = state.era,
    shadow = state.shadow,
    openings = state.openings,
    left = state.phase == "Open" and math.max(0, state.untilAt - now) or nil,
    free = free
  }
end
`

const operations = `
local operation = {}

function operation.admit(_, existed)
  if state.phase == "Open" and now >= state.untilAt then become("HalfOpen", "open-time-over") end
  if state.phase ~= "HalfOpen" or not hasFreeSlot() then
    -- Nothing changes, so that the record is not written for each rejected call.
    if existed and not changed and #transitions == 0 then redis.call("PEXPIRE", key, timeToLive()) else save() end
    return { view = view() }
  end
  -- Slots are taken from the oldest probes, which are past their limit.
  local replaced = false
  while #state.running + state.succeeded + state.failed >= spec.probes do
    table.remove(state.running, 1)
    replaced = true
  end
  state.token = state.token + 1
  table.insert(state.running, { state.token, now })
  save()
  return { view = view(), probe = state.token, replaced = replaced }
end

local function takeProbe(token)
  for i, probe in ipairs(state.running) do
    if probe[1] == token then
      table.remove(state.running, i)
      return now - probe[2] < spec.probeTimeout
    end
  end
  return false
end

local function count(result)
  if result.era ~= state.era then return end
  if result.probe and not takeProbe(result.probe) then return end
  if result.outcome == "ignored" then return end
  local failed, slow = result.outcome == "failure", result.slow
  if state.phase == "Closed" then
    add(spec.trip, state.counter, failed, slow)
    local reason = judge(spec.trip, state.counter)
    if reason then open(nextOpening(result.retryAfter), reason) end
  elseif state.phase == "HalfOpen" then
    if failed or (slow and judgesSlow(spec.trip)) then state.failed = state.failed + 1
    else state.succeeded = state.succeeded + 1 end
    decide(result.retryAfter)
  end
end

function operation.record(results)
  for _, result in ipairs(results) do count(result) end
  save()
  return { view = view() }
end

local function startAfresh()
  state.openings, state.openFor = 0, 0
  close("manual")
end

function operation.control(command)
  local tag = command._tag
  if tag == "Open" then
    local duration = nextOpening()
    open(command.duration or duration, "manual")
  elseif tag == "Close" then
    startAfresh()
  elseif tag == "Isolate" or tag == "Disable" then
    state.shadow = false
    local to = tag == "Isolate" and "Isolated" or "Disabled"
    if state.phase ~= to then become(to, "manual") end
  else
    state.shadow = tag == "Shadow"
    if state.phase == "Isolated" or state.phase == "Disabled" then startAfresh() end
  end
  save()
  return { view = view() }
end

function operation.inspect()
  local phase, counted = state.phase, nil
  if phase == "Closed" then
    local trip, counter = spec.trip, state.counter
    while trip.trips do trip, counter = trip.trips[1], counter.parts[1] end
    if trip._tag == "TimeWindow" then advance(counter) end
    local calls, failures, slow = countsOf(trip, counter)
    counted = { calls = calls, failures = failures, slow = slow }
  end
  return {
    view = view(),
    counted = counted,
    probes = { running = runningProbes(), succeeded = state.succeeded, failed = state.failed }
  }
end
`

/**
 * The whole script, for a clock that sets `micros`. KEYS[1] is the record;
 * ARGV is the operation, the spec and the operation's argument as JSON, and how
 * long what is idle, and what was set by hand, is kept in milliseconds. It
 * answers in JSON.
 */
export const makeScript = (clock: string): string =>
  `${clock}
local now = math.floor(micros / 1000)
local key = KEYS[1]
local spec = cjson.decode(ARGV[2])
local idleTimeToLive = tonumber(ARGV[4])
local manualTimeToLive = tonumber(ARGV[5])
local state
${counting}${phases}${operations}
local existed
state, existed = load()
-- The spec may be another one than that of the request before.
decide()
local reply = operation[ARGV[1]](cjson.decode(ARGV[3]), existed)
if #transitions > 0 then reply.transitions = transitions end
return cjson.encode(reply)
`
