/**
 * Counts what is taken in a window that begins with the first call after the
 * last window is over. What is taken beyond the limit is owed until then.
 */
import { type Spec, weightEpsilon } from "./spec.ts"

export interface State {
  readonly _tag: "fixed-window"
  start: number
  taken: number
}

export const initial = (now: number): State => ({ _tag: "fixed-window", start: now, taken: 0 })

const advance = (spec: Spec, state: State, now: number): void => {
  if (now >= state.start + spec.window) state.taken = 0
  if (state.taken === 0) state.start = now
}

export const waitFor = (spec: Spec, state: State, now: number, weight: number, ahead: number): number => {
  advance(spec, state, now)
  const demand = ahead + weight
  if (state.taken + demand <= spec.limit + weightEpsilon) return 0
  // What is owed beyond the limit ends with its window.
  const rest = demand - Math.max(0, spec.limit - state.taken)
  const windows = Math.max(1, Math.ceil((rest - weightEpsilon) / spec.limit))
  return state.start + windows * spec.window - now
}

export const take = (spec: Spec, state: State, now: number, weight: number): void => {
  advance(spec, state, now)
  state.taken += weight
}

export const giveBack = (spec: Spec, state: State, now: number, at: number, weight: number): void => {
  advance(spec, state, now)
  if (at >= state.start) state.taken = Math.max(0, state.taken - weight)
}

export const reward = (spec: Spec, state: State, now: number, weight: number): void =>
  giveBack(spec, state, now, now, weight)

export const available = (spec: Spec, state: State, now: number): number => {
  advance(spec, state, now)
  return spec.limit - state.taken
}

export const resetAfter = (spec: Spec, state: State, now: number): number => {
  advance(spec, state, now)
  return state.taken === 0 ? 0 : state.start + spec.window - now
}
