import * as check from "../check.ts"
import { checkBackoff, defaultBackoff } from "./aimd.ts"
import { type Algorithm, clamp, type Learner } from "./algorithm.ts"

/**
 * Options of `gradient2`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Gradient2Options {
  /** How many times the usual round trip is no trouble yet, at least 1. Default 1.5. */
  readonly tolerance?: number | undefined
  /** Rounds over which the usual round trip is averaged, an integer of at least 1. Default 100. */
  readonly window?: number | undefined
  /** Calls that may queue at the dependency, zero or more. Default 4. */
  readonly queueSize?: number | undefined
  /** The share of a new limit in the next one, in (0, 1]. Default 0.2. */
  readonly smoothing?: number | undefined
  /** What is left of the limit after a drop, in (0, 1). Default 0.9. */
  readonly backoff?: number | undefined
}

interface Memory {
  readonly limit: number
  /** The round trip averaged over many rounds. */
  readonly usual: number
  readonly rounds: number
}

/** Rounds of which a plain average is taken at first. */
const warmUp = 10

/**
 * Netflix's Gradient2: compares the round trip with its own long average, lets the
 * limit shrink with the ratio, and else adds a small queue each round. It takes
 * round trips that differ from call to call better than `vegas`, and a slow change
 * of them for the new normal: only drops stop what creeps.
 *
 * **Details**
 *
 * The gradient is `tolerance` × usual / present round trip, kept between one half
 * and 1; the new limit is the gradient × the old one + `queueSize`, smoothed. The
 * usual round trip is let down faster when it is more than twice the present one.
 * The formula is that of `Gradient2Limit` in Netflix's concurrency-limits; it
 * takes no notice of drops there.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category algorithms
 * @since 0.1.0
 */
export const gradient2 = (options?: Gradient2Options): Algorithm => {
  const where = "AdaptiveLimit.gradient2"
  const tolerance = options?.tolerance ?? 1.5
  if (!(tolerance >= 1 && tolerance < Infinity)) {
    check.refuse(where, "tolerance", "a finite number of at least 1", tolerance)
  }
  const queueSize = options?.queueSize ?? 4
  if (!(queueSize >= 0 && queueSize < Infinity)) {
    check.refuse(where, "queueSize", "a finite number of at least 0", queueSize)
  }
  const window = check.positiveInteger(where, "window", options?.window ?? 100)
  const smoothing = check.rate(where, "smoothing", options?.smoothing ?? 0.2)
  const backoff = checkBackoff(where, options?.backoff ?? defaultBackoff)

  const average = ({ rounds, usual }: Memory, rtt: number): number => {
    const next = usual + (rtt - usual) * (rounds < warmUp ? 1 / (rounds + 1) : Math.min(1, 2 / (window + 1)))
    return next > 2 * rtt ? next * 0.95 : next
  }

  const at = (memory: Memory): Learner => ({
    limit: memory.limit,
    learn: ({ dropped, rtt }, bounds) => {
      const { limit } = memory
      if (dropped) return at({ ...memory, limit: clamp(limit * backoff, bounds) })
      if (rtt === undefined) return at(memory)
      const usual = average(memory, rtt)
      // Calls that take no time at all are no slower than usual.
      const ratio = rtt > 0 ? tolerance * usual / rtt : 1
      const wanted = limit * Math.max(0.5, Math.min(1, ratio)) + queueSize
      const next = limit * (1 - smoothing) + wanted * smoothing
      return at({ limit: clamp(next, bounds), usual, rounds: memory.rounds + 1 })
    },
    bound: (bounds) => at({ ...memory, limit: clamp(memory.limit, bounds) })
  })
  return { name: "gradient2", start: (limit) => at({ limit, usual: 0, rounds: 0 }) }
}
