import type * as Duration from "effect/Duration"
import * as check from "../check.ts"
import { checkBackoff, defaultBackoff } from "./aimd.ts"
import { type Algorithm, type Bounds, clamp, type Learner, type Sample } from "./algorithm.ts"

/**
 * Options of `told`.
 *
 * @category options
 * @since 0.1.0
 */
export interface ToldOptions {
  /** How long a limit holds before a higher one is tried, above zero. Default 10 seconds. */
  readonly hold?: Duration.Input | undefined
  /** The longest hold, at least `hold`. Default 10 minutes. */
  readonly maxHold?: Duration.Input | undefined
  /** What is left of the limit after a drop that states none, in (0, 1). Default 0.9. */
  readonly backoff?: number | undefined
}

interface Memory {
  readonly limit: number
  /** The limit that the dependency last stated, or the higher one that has since proved itself. */
  readonly stated: number
  readonly hold: number
  /** By how much the next try raises the limit. */
  readonly step: number
  readonly tryAt: number
}

const tenMinutes = 600_000

/**
 * Believes the dependency: when a rejection states a limit, as DeepSeek's 429
 * does, that limit holds at once. After a while it tries whether more goes, in
 * case the limit has been raised without a word.
 *
 * **Details**
 *
 * As long as no limit has been stated, one slot is added each round. A stated one
 * holds for `hold`; then one slot is added, and each time that as long has gone
 * well again, 2, 4, 8 and so on, up to half of the limit. A try has gone well only
 * once more slots were taken than the dependency had stated. When it makes the
 * dependency state the same limit or a lower one, the next try waits twice as
 * long, up to `maxHold`; one that went well makes the hold short again.
 *
 * A stated limit that is no lower than what this process itself has in flight
 * says that others use it up too: like a drop that states none, it takes a share
 * away.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * @category algorithms
 * @since 0.1.0
 */
export const told = (options?: ToldOptions): Algorithm => {
  const where = "AdaptiveLimit.told"
  const shortest = check.positive(where, "hold", options?.hold ?? "10 seconds")
  const longest = check.positive(where, "maxHold", options?.maxHold ?? Math.max(shortest, tenMinutes))
  check.notLonger(where, "hold", shortest, "maxHold", longest)
  const backoff = checkBackoff(where, options?.backoff ?? defaultBackoff)

  const shrunk = (memory: Memory, { at, inFlight, stated }: Sample, bounds: Bounds): Memory => {
    const inVain = stated !== undefined && memory.limit > memory.stated && stated <= memory.stated
    const hold = inVain ? Math.min(longest, 2 * memory.hold) : shortest
    const share = memory.limit * backoff
    const limit = stated === undefined
      ? share
      : stated < inFlight
      ? Math.min(memory.limit, stated)
      : Math.min(share, stated)
    return { limit: clamp(limit, bounds), stated: stated ?? memory.stated, hold, step: 1, tryAt: at + hold }
  }

  const grown = (memory: Memory, { at, inFlight }: Sample, bounds: Bounds): Memory => {
    const { limit, stated, step } = memory
    // Nothing is known yet.
    if (stated === Infinity) return { ...memory, limit: clamp(limit + 1, bounds) }
    const proved = inFlight > stated
    if (at < memory.tryAt || limit >= bounds.max || (limit > stated && !proved)) return memory
    return {
      limit: clamp(limit < stated ? Math.min(limit + step, stated) : limit + step, bounds),
      stated: proved ? Math.min(limit, inFlight) : stated,
      hold: proved ? shortest : memory.hold,
      step: Math.min(2 * step, Math.max(1, Math.floor(limit / 2))),
      tryAt: at + shortest
    }
  }

  const from = (memory: Memory): Learner => ({
    limit: memory.limit,
    learn: (sample, bounds) => from(sample.dropped ? shrunk(memory, sample, bounds) : grown(memory, sample, bounds)),
    bound: (bounds) => from({ ...memory, limit: clamp(memory.limit, bounds) })
  })
  return {
    name: "told",
    start: (limit) => from({ limit, stated: Infinity, hold: shortest, step: 1, tryAt: 0 })
  }
}
