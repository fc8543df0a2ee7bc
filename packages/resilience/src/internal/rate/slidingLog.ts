/**
 * Remembers what was taken and when, for a window: exact, and as large as what
 * was taken at different times within a window. Running sums make it a search
 * to find when room comes.
 */
import { type Spec, weightEpsilon } from "./spec.ts"

export interface State {
  readonly _tag: "sliding-log"
  /** Times at which something was taken, the oldest first; those before `first` are forgotten. */
  times: Array<number>
  /** For each time, the weight taken until then; rising. */
  sums: Array<number>
  first: number
  /** The weight taken before `first`. */
  forgotten: number
}

export const initial = (): State => ({ _tag: "sliding-log", times: [], sums: [], first: 0, forgotten: 0 })

/** Arrays are cut once so much of them, and at least half, is forgotten. */
const minimumCut = 64

const advance = (spec: Spec, state: State, now: number): void => {
  const { sums, times } = state
  while ((times[state.first] ?? Infinity) + spec.window <= now) {
    state.forgotten = sums[state.first] ?? state.forgotten
    state.first++
  }
  if (state.first === times.length) {
    // Begun anew, so that neither sums nor their errors grow for ever.
    if (times.length > 0) clear(state)
  } else if (state.first >= minimumCut && state.first * 2 >= times.length) {
    const base = state.forgotten
    state.times = times.slice(state.first)
    state.sums = sums.slice(state.first).map((sum) => sum - base)
    state.first = 0
    state.forgotten = 0
  }
}

const clear = (state: State): void => {
  state.times = []
  state.sums = []
  state.first = 0
  state.forgotten = 0
}

const total = (state: State): number => (state.sums.at(-1) ?? state.forgotten) - state.forgotten

/** The first place from `low` on whose value is at least `value`. */
const search = (values: ReadonlyArray<number>, low: number, value: number): number => {
  let high = values.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((values[middle] ?? Infinity) < value) low = middle + 1
    else high = middle
  }
  return low
}

export const waitFor = (spec: Spec, state: State, now: number, weight: number, ahead: number): number => {
  advance(spec, state, now)
  const held = total(state)
  const excess = held + ahead + weight - spec.limit
  if (excess <= weightEpsilon) return 0
  // What those ahead take leaves a window later: the log repeats itself.
  const windows = Math.max(0, Math.ceil((ahead + weight - weightEpsilon) / spec.limit) - 1)
  const needed = excess - windows * spec.limit
  const place = search(state.sums, state.first, state.forgotten + needed - weightEpsilon)
  const leaves = needed <= weightEpsilon ? now : (state.times[place] ?? now) + spec.window
  return leaves + windows * spec.window - now
}

export const take = (spec: Spec, state: State, now: number, weight: number): void => {
  advance(spec, state, now)
  if (weight === 0) return
  const last = state.times.length - 1
  const sum = (state.sums[last] ?? state.forgotten) + weight
  // A clock that went back adds to the latest time, so that times keep rising.
  if (now <= (state.times[last] ?? -Infinity)) {
    state.sums[last] = sum
  } else {
    state.times.push(now)
    state.sums.push(sum)
  }
}

/** Takes away from one place, up to what is there, and returns how much that was. */
const reduce = (state: State, place: number, weight: number): number => {
  const before = state.sums[place - 1] ?? 0
  const reduced = Math.min(weight, (state.sums[place] ?? before) - before)
  for (let later = place; later < state.sums.length; later++) state.sums[later] = (state.sums[later] ?? 0) - reduced
  return reduced
}

export const giveBack = (spec: Spec, state: State, now: number, at: number, weight: number): void => {
  advance(spec, state, now)
  const place = search(state.times, state.first, at)
  if (state.times[place] === at) reduce(state, place, weight)
}

/** Gives of the latest first, which would count for longest. */
export const reward = (spec: Spec, state: State, now: number, weight: number): void => {
  advance(spec, state, now)
  let left = Math.min(weight, total(state))
  while (left > 0 && state.times.length > state.first) {
    left -= reduce(state, state.times.length - 1, left)
    if (left > 0) {
      state.times.pop()
      state.sums.pop()
    }
  }
}

export const available = (spec: Spec, state: State, now: number): number => {
  advance(spec, state, now)
  return spec.limit - total(state)
}

export const resetAfter = (spec: Spec, state: State, now: number): number => {
  advance(spec, state, now)
  return total(state) <= weightEpsilon ? 0 : (state.times.at(-1) ?? now) + spec.window - now
}
