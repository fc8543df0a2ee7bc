/**
 * Token bucket and leaky bucket, kept as the time at which all that was taken
 * has flowed back (the generic cell rate algorithm, ITU-T I.371): the token
 * bucket lets a whole burst be outstanding, the leaky bucket nothing.
 *
 * With a warm-up the rate follows a warmth between 0 and 1. It grows while
 * something is outstanding and falls while nothing is, by the whole in a
 * `warmUp`. Cold, rate and burst are a third of their full measure, and between
 * the two they are in proportion. The third is Guava's `SmoothWarmingUp`'s.
 */
import { maxMarks, slackOf, type Spec, tolerance } from "./spec.ts"

export interface State {
  readonly _tag: "bucket"
  /** When all that was taken would have flowed back at the full rate. */
  fullAt: number
  /** 0 is cold, 1 is warm; it stays 0 without a warm-up. */
  warmth: number
  /** The time up to which flow and warmth are reckoned; only with a warm-up. */
  reckonedAt: number
  /** When weight last came back otherwise than with time. */
  jumpedAt: number
  /** When the limit changed last; of no account before `jumpedAt`. */
  convertedAt: number
  /** The least that a unit of weight took to flow back between the two. */
  fastest: number
  /** What a refund needs to know of the past; empty unless `mark` is used. */
  marks: Array<Mark>
}

/**
 * The least that was outstanding at any time since `at`.
 *
 * Both fields rise along the list, so the last mark at or before a time holds
 * the least since that time, or less.
 */
interface Mark {
  readonly at: number
  low: number
}

/** Share of the full rate when cold. */
const coldShare = 1 / 3

export const initial = (now: number): State => ({
  _tag: "bucket",
  fullAt: now,
  warmth: 0,
  reckonedAt: now,
  // Before anything that can be taken.
  jumpedAt: now - 1,
  convertedAt: now - 1,
  fastest: 0,
  marks: []
})

/** Milliseconds of the full rate that are outstanding. */
const backlog = (state: State, now: number): number => Math.max(0, state.fullAt - now)

/** Time in which `need` flows back when the flow begins at `slope` and rises by twice `curve`, until it is full. */
const timeUntil = (need: number, slope: number, curve: number, full: number, atFull: number): number => {
  if (need <= 0) return 0
  const flown = slope * full + curve * full * full
  return need <= flown
    ? (2 * need) / (slope + Math.sqrt(slope * slope + 4 * curve * need))
    : full + atFull - flown
}

const shareOf = (warmth: number): number => coldShare + (1 - coldShare) * warmth

/** Time in which so much flows back from now on. */
const flowTime = (spec: Spec, state: State, need: number): number => {
  if (spec.warmUp === 0) return Math.max(0, need)
  const curve = (1 - coldShare) / (2 * spec.warmUp)
  return timeUntil(need, shareOf(state.warmth), curve, (1 - state.warmth) * spec.warmUp, need)
}

/** Time until the outstanding and `need` fit into a burst that grows with the warmth. */
const fitTime = (spec: Spec, state: State, need: number): number => {
  const share = shareOf(state.warmth)
  const curve = (1 - coldShare) / (2 * spec.warmUp)
  return timeUntil(
    need - spec.capacity * share,
    share + 2 * curve * spec.capacity,
    curve,
    (1 - state.warmth) * spec.warmUp,
    // At full warmth the whole burst is there, and the share of it that the curve added is in both sums.
    need - spec.capacity * share
  )
}

/** Brings flow and warmth up to now. */
const reckon = (spec: Spec, state: State, now: number): void => {
  if (spec.warmUp === 0 || now <= state.reckonedAt) return
  const elapsed = now - state.reckonedAt
  const outstanding = state.fullAt - state.reckonedAt
  const busy = Math.min(elapsed, flowTime(spec, state, outstanding))
  const warming = Math.min(busy, (1 - state.warmth) * spec.warmUp)
  const flown = busy < elapsed
    ? outstanding
    : shareOf(state.warmth) * warming + (1 - coldShare) * warming * warming / (2 * spec.warmUp) + busy - warming
  const warmed = Math.min(1, state.warmth + busy / spec.warmUp)
  state.warmth = Math.max(0, warmed - (elapsed - busy) / spec.warmUp)
  state.fullAt = now + Math.max(0, outstanding - flown)
  state.reckonedAt = now
}

export const waitFor = (spec: Spec, state: State, now: number, weight: number, ahead: number): number => {
  if (spec.warmUp !== 0) return warmWait(spec, state, now, weight, ahead)
  const outstanding = Math.max(state.fullAt, now) - now + ahead * spec.interval
  const wait = spec.algorithm === "token-bucket"
    ? outstanding + weight * spec.interval - spec.capacity
    : outstanding - tolerance
  return wait <= slackOf(spec) ? 0 : wait
}

const warmWait = (spec: Spec, state: State, now: number, weight: number, ahead: number): number => {
  reckon(spec, state, now)
  const outstanding = backlog(state, now) + ahead * spec.interval
  const own = weight * spec.interval
  // A call that is larger than a cold burst goes when nothing is outstanding.
  const wait = spec.algorithm === "token-bucket"
    ? Math.min(flowTime(spec, state, outstanding), fitTime(spec, state, outstanding + own))
    : flowTime(spec, state, outstanding - tolerance)
  return wait <= slackOf(spec) ? 0 : wait
}

export const take = (spec: Spec, state: State, now: number, weight: number): void => {
  reckon(spec, state, now)
  if (state.marks.length > 0) lower(state, backlog(state, now))
  state.fullAt = Math.max(state.fullAt, now) + weight * spec.interval
}

/** Notes that no more than this was outstanding at one time. */
const lower = (state: State, low: number): void => {
  const { marks } = state
  let at: number | undefined
  for (let last = marks.at(-1); last !== undefined && last.low >= low; last = marks.at(-1)) {
    at = last.at
    marks.pop()
  }
  // Where nothing was outstanding all has come back by itself: nothing is left to refund.
  if (at !== undefined && low > 0) marks.push({ at, low })
}

export const mark = (state: State, now: number): void => {
  const last = state.marks.at(-1)
  const low = backlog(state, now)
  if (last?.at === now) last.low = low
  else state.marks.push({ at: now, low })
  if (state.marks.length > maxMarks) thin(state)
}

/**
 * Leaves out marks that tell little more than the one before them, at least half.
 * Of what the calls in between give back, no more than that little can be lost.
 */
const thin = (state: State): void => {
  const { marks } = state
  const step = ((marks.at(-1)?.low ?? 0) - (marks[0]?.low ?? 0)) / (maxMarks / 2)
  let least = -Infinity
  state.marks = marks.filter(({ low }) => {
    if (low - least <= step) return false
    least = low
    return true
  })
}

/**
 * The most that can have flowed back since then, in milliseconds of the full
 * rate: nothing flows faster than time passes, whatever the limit was.
 */
const flowedSince = ({ interval }: Spec, { convertedAt, fastest }: State, now: number, at: number): number =>
  at > convertedAt ? now - at : now - convertedAt + (convertedAt - at) * interval / fastest

/**
 * Makes the state what it would be if so much less had been taken then. What
 * came back by itself in the meantime is not given twice: as far as the bucket
 * would have been full without that call, the flow was lost on it.
 */
export const giveBack = (spec: Spec, state: State, now: number, at: number, weight: number): void => {
  reckon(spec, state, now)
  const taken = weight * spec.interval
  const { marks } = state
  const index = marks.findLastIndex((mark) => mark.at <= at)
  // So much is known without a mark.
  const known = at > state.jumpedAt ? taken - flowedSince(spec, state, now, at) : 0
  const low = Math.max(marks[index]?.low ?? 0, known)
  const back = Math.min(taken, backlog(state, now), low)
  state.fullAt -= back
  let kept = 0
  let least = 0
  let place = 0
  for (const mark of marks) {
    mark.low = place++ <= index ? Math.min(mark.low, low - back) : mark.low - back
    // Without anything to give, or no more than the one before, it tells nothing.
    if (mark.low <= least) continue
    least = mark.low
    marks[kept++] = mark
  }
  marks.length = kept
}

export const reward = (spec: Spec, state: State, now: number, weight: number): void => {
  reckon(spec, state, now)
  state.fullAt = Math.max(now, state.fullAt - weight * spec.interval)
  state.jumpedAt = now
}

export const available = (spec: Spec, state: State, now: number): number => {
  reckon(spec, state, now)
  const share = spec.warmUp === 0 ? 1 : shareOf(state.warmth)
  const outstanding = backlog(state, now)
  if (spec.algorithm === "token-bucket") return (spec.capacity * share - outstanding + slackOf(spec)) / spec.interval
  return outstanding <= tolerance ? (tolerance - outstanding) / spec.interval + 1 : 0
}

export const resetAfter = (spec: Spec, state: State, now: number): number => {
  reckon(spec, state, now)
  const flow = flowTime(spec, state, backlog(state, now))
  return spec.warmUp === 0 ? flow : flow + Math.min(1, state.warmth + flow / spec.warmUp) * spec.warmUp
}

/** What is outstanding stays the same weight. */
export const convert = (from: Spec, to: Spec, state: State, now: number): void => {
  if (from.interval === to.interval && from.warmUp === to.warmUp) return
  reckon(from, state, now)
  const ratio = to.interval / from.interval
  state.fullAt = now + backlog(state, now) * ratio
  for (const mark of state.marks) mark.low *= ratio
  state.reckonedAt = now
  state.fastest = state.convertedAt > state.jumpedAt ? Math.min(state.fastest, from.interval) : from.interval
  state.convertedAt = now
  if (to.warmUp === 0) state.warmth = 0
}
