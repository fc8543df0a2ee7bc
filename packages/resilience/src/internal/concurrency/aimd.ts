import * as check from "../check.ts"
import { type Algorithm, clamp, type Learner } from "./algorithm.ts"

/**
 * Options of `aimd`.
 *
 * @category options
 * @since 0.1.0
 */
export interface AimdOptions {
  /** Slots more after a round without a drop, above zero. Default 1. */
  readonly increase?: number | undefined
  /** What is left of the limit after a drop, in (0, 1). Default 0.9. */
  readonly backoff?: number | undefined
}

/** What all algorithms leave of the limit after a drop. */
export const defaultBackoff = 0.9

export const checkBackoff = (where: string, backoff: number): number =>
  backoff > 0 && backoff < 1 ? backoff : check.refuse(where, "backoff", "in (0, 1)", backoff)

/**
 * Additive increase, multiplicative decrease: adds a little after each round, and
 * takes a share away when a call is dropped. It looks at drops only, so it fits
 * calls that take as long as their work, and a dependency that says no.
 *
 * **Details**
 *
 * Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion
 * Avoidance in Computer Networks", 1989. The share that is left is that of
 * Netflix's concurrency-limits.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category algorithms
 * @since 0.1.0
 */
export const aimd = (options?: AimdOptions): Algorithm => {
  const where = "AdaptiveLimit.aimd"
  const increase = options?.increase ?? 1
  if (!(increase > 0 && increase < Infinity)) check.refuse(where, "increase", "a finite number above zero", increase)
  const backoff = checkBackoff(where, options?.backoff ?? defaultBackoff)
  const at = (limit: number): Learner => ({
    limit,
    learn: ({ dropped }, bounds) => at(clamp(dropped ? limit * backoff : limit + increase, bounds)),
    bound: (bounds) => at(clamp(limit, bounds))
  })
  return { name: "aimd", start: at }
}
