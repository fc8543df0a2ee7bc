/**
 * The arithmetic of rate limits: pure steps on plain data, which the limiter in
 * one process and the store in memory share.
 *
 * A step may forget what is past in the state that it is given; that changes no
 * later answer. Times are milliseconds of any clock that doesn't go back.
 */
import * as Bucket from "./bucket.ts"
import * as FixedWindow from "./fixedWindow.ts"
import * as SlidingCounter from "./slidingCounter.ts"
import * as SlidingLog from "./slidingLog.ts"
import type { Spec } from "./spec.ts"

export { type Algorithm, algorithms, epsilon, make as makeSpec, slackOf, type Spec, weightEpsilon } from "./spec.ts"

/** What a limit remembers; plain data that survives JSON. */
export type State = Bucket.State | FixedWindow.State | SlidingCounter.State | SlidingLog.State

export const initial = (spec: Spec, now: number): State => {
  switch (spec.algorithm) {
    case "token-bucket":
    case "leaky-bucket":
      return Bucket.initial(now)
    case "fixed-window":
      return FixedWindow.initial(now)
    case "sliding-counter":
      return SlidingCounter.initial(now)
    case "sliding-log":
      return SlidingLog.initial()
  }
}

/**
 * Milliseconds until so much weight may be taken, with `ahead` before it: zero
 * when that is now, infinite when it is never. With nothing ahead it is exact as
 * long as nothing else is taken or given; otherwise it is the least that can be,
 * or close to that.
 */
export const waitFor = (spec: Spec, state: State, now: number, weight: number, ahead: number): number => {
  if (weight > spec.burst) return Infinity
  switch (state._tag) {
    case "bucket":
      return Bucket.waitFor(spec, state, now, weight, ahead)
    case "fixed-window":
      return FixedWindow.waitFor(spec, state, now, weight, ahead)
    case "sliding-counter":
      return SlidingCounter.waitFor(spec, state, now, weight, ahead)
    case "sliding-log":
      return SlidingLog.waitFor(spec, state, now, weight, ahead)
  }
}

/** Takes so much in any case; what goes beyond the limit is owed, and later ones wait for it. */
export const take = (spec: Spec, state: State, now: number, weight: number): void => {
  switch (state._tag) {
    case "bucket":
      return Bucket.take(spec, state, now, weight)
    case "fixed-window":
      return FixedWindow.take(spec, state, now, weight)
    case "sliding-counter":
      return SlidingCounter.take(spec, state, now, weight)
    case "sliding-log":
      return SlidingLog.take(spec, state, now, weight)
  }
}

/**
 * Says that what was taken just now may be given back much later. Without it a
 * bucket gives back only what cannot have come back by itself since.
 */
export const mark = (state: State, now: number): void => {
  if (state._tag === "bucket") Bucket.mark(state, now)
}

/** Whether only a mark tells later how much of what is taken now can be given back. */
export const needsMark = (state: State, now: number): boolean => state._tag === "bucket" && state.jumpedAt === now

/**
 * Gives back what was taken at `at`, to where it was taken from: never more than
 * is there, and nothing once it no longer counts.
 */
export const giveBack = (spec: Spec, state: State, now: number, at: number, weight: number): void => {
  switch (state._tag) {
    case "bucket":
      return Bucket.giveBack(spec, state, now, at, weight)
    case "fixed-window":
      return FixedWindow.giveBack(spec, state, now, at, weight)
    case "sliding-counter":
      return SlidingCounter.giveBack(spec, state, now, at, weight)
    case "sliding-log":
      return SlidingLog.giveBack(spec, state, now, at, weight)
  }
}

/** Gives so much of what counts now, up to all of it. */
export const reward = (spec: Spec, state: State, now: number, weight: number): void => {
  switch (state._tag) {
    case "bucket":
      return Bucket.reward(spec, state, now, weight)
    case "fixed-window":
      return FixedWindow.reward(spec, state, now, weight)
    case "sliding-counter":
      return SlidingCounter.reward(spec, state, now, weight)
    case "sliding-log":
      return SlidingLog.reward(spec, state, now, weight)
  }
}

/** Weight that may be taken now; below zero when some is owed. */
export const available = (spec: Spec, state: State, now: number): number => {
  switch (state._tag) {
    case "bucket":
      return Bucket.available(spec, state, now)
    case "fixed-window":
      return FixedWindow.available(spec, state, now)
    case "sliding-counter":
      return SlidingCounter.available(spec, state, now)
    case "sliding-log":
      return SlidingLog.available(spec, state, now)
  }
}

/** Milliseconds until the state is as good as new, when nothing more is taken. */
export const resetAfter = (spec: Spec, state: State, now: number): number => {
  switch (state._tag) {
    case "bucket":
      return Bucket.resetAfter(spec, state, now)
    case "fixed-window":
      return FixedWindow.resetAfter(spec, state, now)
    case "sliding-counter":
      return SlidingCounter.resetAfter(spec, state, now)
    case "sliding-log":
      return SlidingLog.resetAfter(spec, state, now)
  }
}

/** Whether what counts does so alike under both, and comes back alike. */
export const isAlike = (a: Spec, b: Spec): boolean =>
  a.interval === b.interval && a.window === b.window && a.warmUp === b.warmUp

/** Goes over to another limit of the same algorithm: what counts stays taken. */
export const convert = (from: Spec, to: Spec, state: State, now: number): void => {
  switch (state._tag) {
    case "bucket":
      return Bucket.convert(from, to, state, now)
    case "fixed-window":
    case "sliding-counter":
    case "sliding-log":
      // What is past under the old window must not come back under a longer one.
      available(from, state, now)
  }
}
