/**
 * Counts what is taken in the running window and in the one before it, and
 * reckons that the latter was taken evenly: the part of it that is still within
 * the last `window` counts. Two numbers, whatever the limit.
 */
import { type Spec, weightEpsilon } from "./spec.ts"

export interface State {
  readonly _tag: "sliding-counter"
  start: number
  taken: number
  /** What was taken in the window before, and when that began. */
  previous: number
  previousStart: number
}

export const initial = (now: number): State => ({
  _tag: "sliding-counter",
  start: now,
  taken: 0,
  previous: 0,
  previousStart: now
})

const advance = (spec: Spec, state: State, now: number): void => {
  if (now >= state.start + 2 * spec.window) {
    state.previous = 0
    state.taken = 0
  } else if (now >= state.start + spec.window) {
    state.previous = state.taken
    state.previousStart = state.start
    state.taken = 0
    state.start += spec.window
  }
  // As nothing counts, the next window begins with the next call.
  if (state.taken === 0 && state.previous === 0) state.start = now
}

/** What counts of the window before. */
const counted = (spec: Spec, state: State, now: number): number =>
  state.previous * Math.min(1, 1 - (now - state.start) / spec.window)

/** Share of a window after which so much of `previous`, which is more, fits into `room`. */
const shareUntil = (previous: number, room: number): number => 1 - room / previous

export const waitFor = (spec: Spec, state: State, now: number, weight: number, ahead: number): number => {
  advance(spec, state, now)
  const demand = ahead + weight
  const room = spec.limit - state.taken - demand
  if (room + weightEpsilon >= counted(spec, state, now)) return 0
  if (room >= 0) return state.start + shareUntil(state.previous, room) * spec.window - now
  // Those ahead fill this window and the next ones as far as they reach; each leaves as much behind for the one after.
  const within = Math.min(ahead, Math.max(0, spec.limit - state.taken))
  const rest = demand - within
  const windows = Math.max(0, Math.ceil((rest - weightEpsilon) / spec.limit) - 1)
  const previous = windows === 0 ? state.taken + within : spec.limit
  const share = shareUntil(previous, spec.limit - (rest - windows * spec.limit))
  return state.start + (1 + windows + share) * spec.window - now
}

export const take = (spec: Spec, state: State, now: number, weight: number): void => {
  advance(spec, state, now)
  state.taken += weight
}

export const giveBack = (spec: Spec, state: State, now: number, at: number, weight: number): void => {
  advance(spec, state, now)
  if (at >= state.start) state.taken = Math.max(0, state.taken - weight)
  else if (at >= state.previousStart) state.previous = Math.max(0, state.previous - weight)
}

/** Gives of the running window first, which counts whole. */
export const reward = (spec: Spec, state: State, now: number, weight: number): void => {
  advance(spec, state, now)
  const given = Math.min(state.taken, weight)
  state.taken -= given
  const share = 1 - (now - state.start) / spec.window
  state.previous = Math.max(0, state.previous - (weight - given) / share)
}

export const available = (spec: Spec, state: State, now: number): number => {
  advance(spec, state, now)
  return spec.limit - state.taken - counted(spec, state, now)
}

export const resetAfter = (spec: Spec, state: State, now: number): number => {
  advance(spec, state, now)
  if (state.taken > 0) return state.start + 2 * spec.window - now
  return state.previous > 0 ? state.start + spec.window - now : 0
}
