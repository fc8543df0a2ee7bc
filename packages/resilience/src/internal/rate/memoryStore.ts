/** Shared limits in memory: the arithmetic of `algorithm.ts` behind the store's interface. */
import * as Effect from "effect/Effect"
import { makeRoom, maxKeys } from "../makeRoom.ts"
import * as time from "../time.ts"
import * as algorithm from "./algorithm.ts"
import type { RateLimiterStore } from "./store.ts"

interface Entry {
  /** Undefined while only a hold is known. */
  limit: { spec: algorithm.Spec; readonly state: algorithm.State } | undefined
  pausedUntil: number
  blockedUntil: number
  /** When the entry is as good as new. */
  expiresAt: number
}

/** Expired entries are looked for when so many were added, and at least as many as were left last time. */
const minimumSweep = 1_024

export const make = (): RateLimiterStore["Service"] => {
  const entries = new Map<string, Entry>()
  let sweepAt = minimumSweep

  const sweep = (now: number) => {
    if (entries.size < sweepAt) return
    for (const [key, entry] of entries) if (entry.expiresAt <= now) entries.delete(key)
    sweepAt = Math.max(minimumSweep, entries.size * 2)
  }

  const find = (key: string, now: number): Entry => {
    const found = entries.get(key)
    if (found !== undefined) {
      // A map keeps the order of insertion: the longest unused comes first.
      entries.delete(key)
      entries.set(key, found)
      return found
    }
    sweep(now)
    if (entries.size >= maxKeys) {
      makeRoom(
        entries,
        ({ blockedUntil, expiresAt }) => expiresAt <= now ? "unnoticed" : blockedUntil > now ? "pinned" : "missed"
      )
    }
    const entry: Entry = { limit: undefined, pausedUntil: -Infinity, blockedUntil: -Infinity, expiresAt: now }
    entries.set(key, entry)
    return entry
  }

  const stateOf = (entry: Entry, spec: algorithm.Spec, now: number): algorithm.State => {
    const { limit } = entry
    if (limit === undefined || limit.spec.algorithm !== spec.algorithm) {
      const state = algorithm.initial(spec, now)
      entry.limit = { spec, state }
      return state
    }
    if (!algorithm.isAlike(limit.spec, spec)) algorithm.convert(limit.spec, spec, limit.state, now)
    limit.spec = spec
    return limit.state
  }

  /** The state as it would be under that limit, for who doesn't change it. */
  const look = ({ limit }: Entry, spec: algorithm.Spec, now: number): algorithm.State => {
    if (limit === undefined || limit.spec.algorithm !== spec.algorithm) return algorithm.initial(spec, now)
    if (algorithm.isAlike(limit.spec, spec)) return limit.state
    const state = structuredClone(limit.state)
    algorithm.convert(limit.spec, spec, state, now)
    return state
  }

  const expire = (entry: Entry, now: number) => {
    const reset = entry.limit === undefined ? 0 : algorithm.resetAfter(entry.limit.spec, entry.limit.state, now)
    entry.expiresAt = Math.max(now + reset, entry.pausedUntil, entry.blockedUntil)
  }

  const waitFor = (entry: Entry, spec: algorithm.Spec, state: algorithm.State, now: number, weight: number) =>
    Math.max(algorithm.waitFor(spec, state, now, weight, 0), entry.pausedUntil - now, entry.blockedUntil - now)

  const step = <A>(f: (now: number) => A): Effect.Effect<A> =>
    Effect.withFiber((fiber) => Effect.succeed(f(time.now(fiber))))

  const change = (
    key: string,
    spec: algorithm.Spec,
    f: (state: algorithm.State, now: number) => void
  ): Effect.Effect<void> =>
    step((now) => {
      const entry = find(key, now)
      f(stateOf(entry, spec, now), now)
      expire(entry, now)
    })

  return {
    take: (key, spec, { extra: wanted, marked, weights }) =>
      step((now) => {
        const entry = find(key, now)
        const state = stateOf(entry, spec, now)
        let admitted = 0
        let wait = Math.max(0, entry.pausedUntil - now, entry.blockedUntil - now)
        for (const weight of weights) {
          wait = waitFor(entry, spec, state, now, weight)
          if (wait > 0) break
          algorithm.take(spec, state, now, weight)
          admitted++
        }
        const free = wait > 0 || wanted === 0 ? 0 : algorithm.available(spec, state, now)
        const extra = Math.max(0, Math.floor(Math.min(wanted, free) + algorithm.weightEpsilon))
        if (extra > 0) algorithm.take(spec, state, now, extra)
        if (marked && admitted + extra > 0) algorithm.mark(state, now)
        expire(entry, now)
        return {
          admitted,
          extra,
          wait,
          blocked: entry.blockedUntil > now,
          remaining: algorithm.available(spec, state, now),
          reset: algorithm.resetAfter(spec, state, now),
          at: now
        }
      }),
    peek: (key, spec, weight) =>
      step((now) => {
        const entry = find(key, now)
        const state = look(entry, spec, now)
        const wait = Math.max(0, waitFor(entry, spec, state, now, weight))
        return {
          admitted: wait === 0 ? 1 : 0,
          extra: 0,
          wait,
          blocked: entry.blockedUntil > now,
          remaining: algorithm.available(spec, state, now),
          reset: algorithm.resetAfter(spec, state, now),
          at: now
        }
      }),
    charge: (key, spec, weight) => change(key, spec, (state, now) => algorithm.take(spec, state, now, weight)),
    giveBack: (key, spec, weight, at) =>
      change(key, spec, (state, now) => algorithm.giveBack(spec, state, now, at, weight)),
    reward: (key, spec, weight) => change(key, spec, (state, now) => algorithm.reward(spec, state, now, weight)),
    hold: (key, kind, millis) =>
      step((now) => {
        const entry = find(key, now)
        if (kind === "pause") entry.pausedUntil = Math.max(entry.pausedUntil, now + millis)
        else entry.blockedUntil = Math.max(entry.blockedUntil, now + millis)
        expire(entry, now)
      }),
    release: (key, kind) =>
      step((now) => {
        const entry = find(key, now)
        if (kind === "pause") entry.pausedUntil = -Infinity
        else entry.blockedUntil = -Infinity
        expire(entry, now)
      })
  }
}
