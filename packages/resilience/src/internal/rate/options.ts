import * as Duration from "effect/Duration"
import * as check from "../check.ts"
import * as Algorithm from "./algorithm.ts"

/**
 * Settings of a rate limiter that can change while calls run and wait.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** Weight per window, an integer of at least 1. A call weighs 1 unless told. */
  readonly limit?: number | undefined
  /** The stretch of time that `limit` is for, above zero and at most 100 years. */
  readonly window?: Duration.Input | undefined
  /** Weight that may start at once after a quiet time, an integer of at least 1; of a token bucket only. Default `limit`. */
  readonly burst?: number | undefined
  /**
   * Time of use in which rate and burst rise from a third to their full measure, from zero to 100 years; an idle
   * limiter cools down as fast. Of a token or leaky bucket only. Default zero: always at full rate.
   */
  readonly warmUp?: Duration.Input | undefined
  /** How long a call may wait for its turn, zero or more; infinity for no bound. Default zero: reject at once. */
  readonly maxWait?: Duration.Input | undefined
  /** Calls that may wait, zero or more; `Infinity` for no bound. Default 1,000. */
  readonly maxQueue?: number | undefined
}

/**
 * Options of a rate limiter.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Settings {
  /** Name in errors, metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /** How calls are counted. Default `"token-bucket"`. */
  readonly algorithm?: Algorithm.Algorithm | undefined
  readonly limit: number
  readonly window: Duration.Input
}

export const defaults = {
  name: "default",
  algorithm: "token-bucket",
  warmUp: 0,
  maxWait: 0,
  maxQueue: 1_000
} satisfies Partial<Options>

/** Options that were checked, and what follows from them. */
export interface Checked {
  readonly options: Options
  readonly spec: Algorithm.Spec
  readonly maxWait: number
  readonly maxQueue: number
}

export const checked = (where: string, options: Options): Checked => ({
  options,
  spec: specOf(where, options),
  maxWait: check.notNegative(where, "maxWait", options.maxWait ?? defaults.maxWait),
  maxQueue: check.count(where, "maxQueue", options.maxQueue ?? defaults.maxQueue)
})

/** The options with changes; what these leave out stays. */
export const changed = (where: string, options: Options, changes: Settings): Checked =>
  checked(where, {
    ...options,
    limit: changes.limit ?? options.limit,
    window: changes.window ?? options.window,
    burst: changes.burst ?? options.burst,
    warmUp: changes.warmUp ?? options.warmUp,
    maxWait: changes.maxWait ?? options.maxWait,
    maxQueue: changes.maxQueue ?? options.maxQueue
  })

/** Beyond 100 years a time is as good as endless, and its sums are no times any more. */
export const longestWindow = Duration.days(36_500)

const notAges = (where: string, field: string, millis: number): void =>
  check.notLonger(where, field, millis, "100 years", Duration.toMillis(longestWindow))

/** What the options say of the limit itself. */
const specOf = (where: string, options: Options): Algorithm.Spec => {
  const algorithm = options.algorithm ?? defaults.algorithm
  if (!Algorithm.algorithms.includes(algorithm)) {
    check.refuse(where, "algorithm", `one of ${Algorithm.algorithms.join(", ")}`, algorithm)
  }
  const limit = check.positiveInteger(where, "limit", options.limit)
  const window = check.positive(where, "window", options.window)
  const burst = check.positiveInteger(where, "burst", options.burst ?? limit)
  const warmUp = check.notNegative(where, "warmUp", options.warmUp ?? defaults.warmUp)
  if (algorithm !== "token-bucket" && options.burst !== undefined) {
    check.refuse(where, "burst", `left out with ${algorithm}`, burst)
  }
  notAges(where, "window", window)
  notAges(where, "warmUp", warmUp)
  if (warmUp > 0 && algorithm !== "token-bucket" && algorithm !== "leaky-bucket") {
    check.refuse(where, "warmUp", `left out with ${algorithm}`, `${warmUp}ms`)
  }
  return Algorithm.makeSpec({ algorithm, limit, window, burst, warmUp })
}

/** The weight of a call. */
export const weight = (where: string, value: number): number => check.positiveAmount(where, "weight", value)

/** A weight that may be nothing. */
export const amount = (where: string, value: number): number => check.amount(where, "weight", value)
