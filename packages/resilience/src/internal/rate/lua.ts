/**
 * The arithmetic of `algorithm.ts` as scripts for Redis: one for each algorithm
 * and operation, so that a decision is one call. What the one says and what the
 * other says must be the same; the contract of the stores and a comparison on
 * random histories hold them to it.
 *
 * A script reads the server's clock, decides, and writes only when something was
 * taken or given, or is over, or the clock went back or the limit is another one;
 * `peek` never writes. `KEYS[1]` is a hash with all of a limit but the entries of
 * a sliding log, which are a sorted set in `KEYS[2]`. Numbers are written with 17
 * digits, which keeps them as they are.
 */
import * as spec from "./spec.ts"

/** How much of `ARGV` the limit takes; what the operation takes comes after. */
const limits = `
local limit, window, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local warmUp, interval, capacity = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
`

/** Milliseconds that a key lives on when it is as good as new, so that one in use isn't made anew at every call. */
const grace = 5_000

const constants = `
local epsilon, slackShare, weightEpsilon = ${spec.epsilon}, ${spec.slackShare}, ${spec.weightEpsilon}
local tolerance, coldShare, maxMarks = ${spec.tolerance}, 1 / 3, ${spec.maxMarks}
local grace, longest = ${grace}, ${spec.longestLife}
local max, min, floor, ceil = math.max, math.min, math.floor, math.ceil
local function text(number) return string.format('%.17g', number) end
`

/**
 * Time on a key never goes back: when the server's clock did, it goes on from
 * the last time seen. The first call to find that out writes the offset, else it
 * would start from there each time. A look answers for the last time seen until
 * then: how long ago that was is not known.
 */
const clock = `
local time = redis.call('TIME')
local clock = time[1] * 1000 + time[2] / 1000
local offset, seen = tonumber(saved[2]) or 0, tonumber(saved[3]) or 0
local now = clock + offset
local behind = now < seen
if behind then
  now = seen
  offset = seen - clock
end
local paused, blocked = tonumber(saved[4]) or 0, tonumber(saved[5]) or 0
`

/** What another algorithm has left is nothing to this one, and is gone once this one writes. */
const load = (algorithm: spec.Algorithm, fields: ReadonlyArray<string>) => `
local saved = redis.call('HMGET', KEYS[1], 'algorithm', 'offset', 'seen', 'paused', 'blocked'${
  fields.map((field) => `, '${field}'`).join("")
})
${clock}
local known = saved[1] == '${algorithm}'
if not known then
  for field = 6, ${5 + fields.length} do saved[field] = false end
end
local function renew()
  if known then return end
  redis.call('DEL', KEYS[2])
  known = true
end
`

const save = (algorithm: spec.Algorithm, fields: ReadonlyArray<string>) => `
local function save()
  renew()
  redis.call('HSET', KEYS[1], 'algorithm', '${algorithm}', 'offset', text(offset), 'seen', text(now)${
  fields.map((field) => `, '${field}', text(${field})`).join("")
})
  local left = max(resetAfter(), paused - now, blocked - now, 0) + grace
  redis.call('PEXPIRE', KEYS[1], text(ceil(min(left, longest))))
end
`

/**
 * As `bucket.ts`. A bucket keeps by which interval and warm-up it is reckoned, so
 * that what came back until the limit changes came back under the old one.
 */
const buckets = (algorithm: "token-bucket" | "leaky-bucket") => `
${load(algorithm, ["fullAt", "warmth", "reckonedAt", "pace", "ramp", "jumpedAt", "convertedAt", "fastest", "marks"])}
local fullAt, warmth = tonumber(saved[6]) or now, tonumber(saved[7]) or 0
local reckonedAt, pace = tonumber(saved[8]) or now, tonumber(saved[9]) or interval
local ramp, jumpedAt = tonumber(saved[10]) or warmUp, tonumber(saved[11]) or now - 1
local convertedAt, fastest = tonumber(saved[12]) or jumpedAt, tonumber(saved[13]) or pace
local marks, marked, slack = {}, false, min(epsilon, interval * slackShare)
if saved[14] and saved[14] ~= '' then marks = cmsgpack.unpack(saved[14]) end

local function backlog() return max(0, fullAt - now) end
local function share() return coldShare + (1 - coldShare) * warmth end

local function timeUntil(need, slope, curve, full, atFull)
  if need <= 0 then return 0 end
  local flown = slope * full + curve * full * full
  if need <= flown then return (2 * need) / (slope + math.sqrt(slope * slope + 4 * curve * need)) end
  return full + atFull - flown
end

local function flowTime(need)
  if ramp == 0 then return max(0, need) end
  return timeUntil(need, share(), (1 - coldShare) / (2 * ramp), (1 - warmth) * ramp, need)
end

local function fitTime(need)
  local curve = (1 - coldShare) / (2 * ramp)
  local rest = need - capacity * share()
  return timeUntil(rest, share() + 2 * curve * capacity, curve, (1 - warmth) * ramp, rest)
end

local function reckon()
  if ramp == 0 or now <= reckonedAt then return end
  local elapsed, outstanding = now - reckonedAt, fullAt - reckonedAt
  local busy = min(elapsed, flowTime(outstanding))
  local warming = min(busy, (1 - warmth) * ramp)
  local flown = outstanding
  if busy < elapsed then
    fullAt = now
  else
    flown = share() * warming + (1 - coldShare) * warming * warming / (2 * ramp) + busy - warming
    fullAt = now + max(0, outstanding - flown)
  end
  warmth = max(0, min(1, warmth + busy / ramp) - (elapsed - busy) / ramp)
  reckonedAt = now
end

local function lower(low)
  local at
  while #marks > 0 and marks[#marks] >= low do
    at = marks[#marks - 1]
    marks[#marks], marks[#marks - 1] = nil, nil
    marked = true
  end
  if at and low > 0 then
    marks[#marks + 1], marks[#marks + 2] = at, low
  end
end

if ramp == 0 then reckonedAt = now end
reckon()
local moved = pace ~= interval or ramp ~= warmUp
if moved then
  local ratio = interval / pace
  fullAt = now + backlog() * ratio
  for place = 2, #marks, 2 do marks[place] = marks[place] * ratio end
  if convertedAt > jumpedAt then fastest = min(fastest, pace) else fastest = pace end
  marked, convertedAt, pace, ramp = true, now, interval, warmUp
end
if ramp == 0 then warmth = 0 end

local function waitFor(weight)
  local outstanding, own, wait = backlog(), weight * interval, 0
  if warmUp == 0 then
    wait = ${algorithm === "token-bucket" ? "outstanding + own - capacity" : "outstanding - tolerance"}
  else
    wait = ${
  algorithm === "token-bucket"
    ? "min(flowTime(outstanding), fitTime(outstanding + own))"
    : "flowTime(outstanding - tolerance)"
}
  end
  if wait <= slack then return 0 end
  return wait
end

local function take(weight)
  if #marks > 0 then lower(backlog()) end
  fullAt = max(fullAt, now) + weight * interval
end

local function shorten(length)
  for place = #marks, length + 1, -1 do marks[place] = nil end
  marked = true
end

local function thin()
  local step, kept, least = (marks[#marks] - marks[2]) / (maxMarks / 2), 0, -math.huge
  for place = 1, #marks, 2 do
    local at, low = marks[place], marks[place + 1]
    if low - least > step then
      marks[kept + 1], marks[kept + 2] = at, low
      kept, least = kept + 2, low
    end
  end
  shorten(kept)
end

local function mark()
  local place = #marks
  if place > 0 and marks[place - 1] == now then place = place - 2 end
  marks[place + 1], marks[place + 2] = now, backlog()
  if #marks > 2 * maxMarks then thin() end
  marked = true
end

local function flowedSince(at)
  if at > convertedAt then return now - at end
  return now - convertedAt + (convertedAt - at) * interval / fastest
end

local function giveBack(weight, at)
  local taken, index = weight * interval, 0
  for place = 1, #marks, 2 do
    if marks[place] <= at then index = place end
  end
  local low, known = 0, 0
  if index > 0 then low = marks[index + 1] end
  if at > jumpedAt then known = taken - flowedSince(at) end
  low = max(low, known)
  local back = min(taken, backlog(), low)
  fullAt = fullAt - back
  local kept, least = 0, 0
  for place = 1, #marks, 2 do
    local at, left = marks[place], marks[place + 1] - back
    if place <= index then left = min(marks[place + 1], low - back) end
    if left > least then
      marks[kept + 1], marks[kept + 2] = at, left
      kept, least = kept + 2, left
    end
  end
  shorten(kept)
end

local function reward(weight)
  fullAt, jumpedAt = max(now, fullAt - weight * interval), now
  if #marks > 0 then lower(backlog()) end
end

local function available()
  local full = 1
  if warmUp ~= 0 then full = share() end
  local outstanding = backlog()
  ${
  algorithm === "token-bucket" ? "return (capacity * full - outstanding + slack) / interval" : `
  if outstanding > tolerance then return 0 end
  return (tolerance - outstanding) / interval + 1`
}
end

local function resetAfter()
  local flow = flowTime(backlog())
  if warmUp == 0 then return flow end
  return flow + min(1, warmth + flow / warmUp) * warmUp
end
${save(algorithm, ["fullAt", "warmth", "reckonedAt", "pace", "ramp", "jumpedAt", "convertedAt", "fastest"])}
local function finish()
  save()
  if marked then redis.call('HSET', KEYS[1], 'marks', #marks > 0 and cmsgpack.pack(marks) or '') end
end
`

/** A limit keeps its window, so that what is past under that does not come back under a longer one. */
const windows = (place: number) => `
local span = tonumber(saved[${place}]) or window
local moved = span ~= window
`

/** As `fixedWindow.ts`. */
const fixedWindow = `
${load("fixed-window", ["start", "taken", "span"])}
local start, taken = tonumber(saved[6]) or now, tonumber(saved[7]) or 0
${windows(8)}
if now >= start + min(span, window) then taken = 0 end
span = window
if taken == 0 then start = now end

local function waitFor(weight)
  if taken + weight <= limit + weightEpsilon then return 0 end
  local rest = weight - max(0, limit - taken)
  return start + max(1, ceil((rest - weightEpsilon) / limit)) * window - now
end
local function take(weight) taken = taken + weight end
local function mark() end
local function giveBack(weight, at)
  if at >= start then taken = max(0, taken - weight) end
end
local function reward(weight) giveBack(weight, now) end
local function available() return limit - taken end
local function resetAfter()
  if taken == 0 then return 0 end
  return start + window - now
end
${save("fixed-window", ["start", "taken", "span"])}
local finish = save
`

/** As `slidingCounter.ts`. */
const slidingCounter = `
${load("sliding-counter", ["start", "taken", "previous", "previousStart", "span"])}
local start, taken = tonumber(saved[6]) or now, tonumber(saved[7]) or 0
local previous, previousStart = tonumber(saved[8]) or 0, tonumber(saved[9]) or now
${windows(10)}
local function advance(span)
  if now >= start + 2 * span then
    previous, taken = 0, 0
  elseif now >= start + span then
    previous, previousStart, taken, start = taken, start, 0, start + span
  end
  if taken == 0 and previous == 0 then start = now end
end
advance(span)
if moved then advance(window) end
span = window

local function counted() return previous * min(1, 1 - (now - start) / window) end
local function shareUntil(counting, room)
  if counting <= room then return 0 end
  return 1 - room / counting
end
local function waitFor(weight)
  local room = limit - taken - weight
  if room + weightEpsilon >= counted() then return 0 end
  if room >= 0 then return start + shareUntil(previous, room) * window - now end
  local windows = max(0, ceil((weight - weightEpsilon) / limit) - 1)
  local left = taken
  if windows > 0 then left = limit end
  return start + (1 + windows + shareUntil(left, limit - (weight - windows * limit))) * window - now
end
local function take(weight) taken = taken + weight end
local function mark() end
local function giveBack(weight, at)
  if at >= start then taken = max(0, taken - weight)
  elseif at >= previousStart then previous = max(0, previous - weight) end
end
local function reward(weight)
  local given = min(taken, weight)
  taken = taken - given
  local left = 1 - (now - start) / window
  if left > 0 then previous = max(0, previous - (weight - given) / left) end
end
local function available() return limit - taken - counted() end
local function resetAfter()
  if taken > 0 then return start + 2 * window - now end
  if previous > 0 then return start + window - now end
  return 0
end
${save("sliding-counter", ["start", "taken", "previous", "previousStart", "span"])}
local finish = save
`

/**
 * As `slidingLog.ts`, without its running sums: an entry is a member `time|weight`
 * with the time as its score, and the hash has the sum of them all.
 */
const slidingLog = `
${load("sliding-log", ["total", "span"])}
local total = tonumber(saved[6]) or 0
${windows(7)}
span = min(span, window)
local function weightOf(member) return tonumber(string.match(member, '|(.*)$')) end
local function timeOf(member) return tonumber(string.match(member, '^(.*)|')) end
local function write(at, weight) redis.call('ZADD', KEYS[2], text(at), text(at) .. '|' .. text(weight)) end

local stale = 0
local function forget()
  while true do
    local oldest, past = redis.call('ZRANGE', KEYS[2], stale, stale + 63), 0
    for place = 1, #oldest do
      if timeOf(oldest[place]) + span > now then break end
      total = total - weightOf(oldest[place])
      past = place
    end
    if reading then
      stale = stale + past
    elseif past > 0 then
      redis.call('ZREMRANGEBYRANK', KEYS[2], 0, past - 1)
    end
    if past < 64 then
      if past == #oldest then total = 0 end
      if past > 0 and not reading then redis.call('HSET', KEYS[1], 'total', text(total)) end
      return
    end
  end
end
if known then forget() end
span = window

local function waitFor(weight)
  local excess = total + weight - limit
  if excess <= weightEpsilon then return 0 end
  local rank = stale
  while true do
    local entries = redis.call('ZRANGE', KEYS[2], rank, rank + 63)
    if #entries == 0 then return 0 end
    for place = 1, #entries do
      excess = excess - weightOf(entries[place])
      if excess <= weightEpsilon then return timeOf(entries[place]) + window - now end
    end
    rank = rank + 64
  end
end

local function latest() return known and redis.call('ZRANGE', KEYS[2], -1, -1)[1] end
local function take(weight)
  if weight == 0 then return end
  renew()
  local last = latest()
  total = total + weight
  if last and timeOf(last) >= now then
    redis.call('ZREM', KEYS[2], last)
    write(timeOf(last), weightOf(last) + weight)
  else
    write(now, weight)
  end
end
local function mark() end
local function reduce(member, weight)
  local reduced = min(weight, weightOf(member))
  redis.call('ZREM', KEYS[2], member)
  if weightOf(member) - reduced > weightEpsilon then write(timeOf(member), weightOf(member) - reduced) end
  total = total - reduced
  return reduced
end
local function giveBack(weight, at)
  if not known then return end
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], text(at), text(at))[1]
  if found then reduce(found, weight) end
end
local function reward(weight)
  local left = min(weight, total)
  while left > 0 do
    local last = latest()
    if not last then return end
    left = left - reduce(last, left)
  end
end
local function available() return limit - total end
local function resetAfter()
  local last = latest()
  if not last then return 0 end
  return max(0, timeOf(last) + window - now)
end
${save("sliding-log", ["total", "span"])}
local function finish()
  save()
  redis.call('PEXPIRE', KEYS[2], text(ceil(min(resetAfter() + grace, longest))))
end
`

const algorithms: Record<spec.Algorithm, string> = {
  "token-bucket": buckets("token-bucket"),
  "leaky-bucket": buckets("leaky-bucket"),
  "fixed-window": fixedWindow,
  "sliding-counter": slidingCounter,
  "sliding-log": slidingLog
}

/** A wait of -1 is one for ever. */
const answer = `
local function answer(admitted, extra, wait)
  return { admitted, extra, text(wait), blocked > now and 1 or 0, text(available()), text(resetAfter()), text(now) }
end
local function held(wait)
  return max(wait, paused - now, blocked - now, 0)
end
`

const takes = `
local wanted, marking = tonumber(ARGV[7]), ARGV[8] == '1'
local admitted, extra, wait = 0, 0, held(0)
for place = 9, #ARGV do
  local weight = tonumber(ARGV[place])
  if weight > burst then wait = -1 else wait = held(waitFor(weight)) end
  if wait ~= 0 then break end
  take(weight)
  admitted = admitted + 1
end
if wait == 0 and wanted > 0 then
  extra = max(0, floor(min(wanted, available()) + weightEpsilon))
  if extra > 0 then take(extra) end
end
if marking and admitted + extra > 0 then mark() end
if moved or admitted + extra > 0 then
  finish()
elseif behind then
  redis.call('HSET', KEYS[1], 'offset', text(offset))
end
return answer(admitted, extra, wait)
`

const operations = {
  take: takes,
  peek: `
local weight, wait = tonumber(ARGV[7]), -1
if weight <= burst then wait = held(waitFor(weight)) end
return answer(wait == 0 and 1 or 0, 0, wait)
`,
  charge: "take(tonumber(ARGV[7])) finish() return 0",
  giveBack: "giveBack(tonumber(ARGV[7]), tonumber(ARGV[8])) finish() return 0",
  reward: "reward(tonumber(ARGV[7])) finish() return 0"
}

export type Operation = keyof typeof operations

export const limitScript = (algorithm: spec.Algorithm, operation: Operation): string =>
  `local reading = ${operation === "peek"}\n` + limits + constants + algorithms[algorithm] + answer +
  operations[operation]

const holds = `
${constants}
local saved = redis.call('HMGET', KEYS[1], 'algorithm', 'offset', 'seen', 'paused', 'blocked')
${clock}
`

/** Holds a key until a time; a key lives at least as long as its holds. */
export const holdScript = `
${holds}
local untilTime = now + tonumber(ARGV[2])
if ARGV[1] == 'pause' then untilTime = max(untilTime, paused) else untilTime = max(untilTime, blocked) end
redis.call('HSET', KEYS[1], ARGV[1] == 'pause' and 'paused' or 'blocked', text(untilTime), 'offset', text(offset), 'seen', text(now))
local left = max(redis.call('PTTL', KEYS[1]), untilTime - now + grace)
redis.call('PEXPIRE', KEYS[1], text(ceil(min(left, longest))))
return 0
`

export const releaseScript = `return redis.call('HDEL', KEYS[1], ARGV[1] == 'pause' and 'paused' or 'blocked')`
