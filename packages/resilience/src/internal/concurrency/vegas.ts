import type * as Duration from "effect/Duration"
import * as check from "../check.ts"
import { checkBackoff, defaultBackoff } from "./aimd.ts"
import { type Algorithm, clamp, type Learner } from "./algorithm.ts"

/**
 * Options of `vegas`.
 *
 * @category options
 * @since 0.1.0
 */
export interface VegasOptions {
  /** How long a round trip without load is believed in, above zero. Then it is measured anew. Default 1 minute. */
  readonly remeasure?: Duration.Input | undefined
  /** What is left of the limit after a drop, in (0, 1). Default 0.9. */
  readonly backoff?: number | undefined
}

interface Memory {
  readonly limit: number
  /** The least round trip that was seen, taken as that without load. */
  readonly base: number
  readonly seenAt: number
  /** The limit to go back to, while the round trip is measured at half of it. */
  readonly resume: number | undefined
}

/** How many calls may queue at the dependency: more slots below the first, fewer above the second; times log10 of the limit. */
const [few, many] = [3, 6]

/**
 * TCP Vegas: compares the round trip with the one without load, and so estimates
 * how many of its calls wait in the dependency's queue; it keeps these few. It
 * sees overload before anything is dropped, but only where calls of the same kind
 * take the same time.
 *
 * **Details**
 *
 * With the limit L it estimates L × (1 − least / present round trip). Below
 * 3 × log10(L) it adds log10(L) slots each round, above 6 × log10(L) it takes as
 * many away. Once the least round trip is older than `remeasure`, the limit is
 * halved for one round to measure it again: otherwise a queue of its own making
 * would in time pass for the normal case.
 *
 * Brakmo, O'Malley and Peterson, "TCP Vegas: New Techniques for Congestion
 * Detection and Avoidance", 1994; the factors are those of Netflix's
 * concurrency-limits, the measuring round is like that of BBR (Cardwell and
 * others, 2016).
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category algorithms
 * @since 0.1.0
 */
export const vegas = (options?: VegasOptions): Algorithm => {
  const where = "AdaptiveLimit.vegas"
  const remeasure = check.positive(where, "remeasure", options?.remeasure ?? "1 minute")
  const backoff = checkBackoff(where, options?.backoff ?? defaultBackoff)

  const at = (memory: Memory): Learner => ({
    limit: memory.limit,
    learn: (sample, bounds) => {
      const { limit, resume } = memory
      if (sample.dropped) return at({ ...memory, limit: clamp(limit * backoff, bounds), resume: undefined })
      if (sample.rtt === undefined) return at(memory)
      if (resume !== undefined) {
        const back = clamp(resume, bounds)
        return at({ limit: back, base: sample.rtt, seenAt: sample.at, resume: back < resume ? resume : undefined })
      }
      const isLeast = sample.rtt <= memory.base
      const base = isLeast ? sample.rtt : memory.base
      const seenAt = isLeast ? sample.at : memory.seenAt
      if (sample.at - seenAt > remeasure) {
        return at({ limit: clamp(limit / 2, bounds), base, seenAt, resume: limit })
      }
      const unit = Math.max(1, Math.log10(limit))
      const queue = sample.rtt > 0 ? limit * (1 - base / sample.rtt) : 0
      const change = queue < few * unit ? unit : queue > many * unit ? -unit : 0
      return at({ limit: clamp(limit + change, bounds), base, seenAt, resume: undefined })
    },
    bound: (bounds) => {
      const { limit, resume } = memory
      return at({
        ...memory,
        limit: clamp(limit, bounds),
        resume: resume === undefined ? undefined : clamp(resume, bounds)
      })
    }
  })
  return { name: "vegas", start: (limit) => at({ limit, base: Infinity, seenAt: -Infinity, resume: undefined }) }
}
