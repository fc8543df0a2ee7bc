/**
 * How calls are counted against a limit.
 *
 * @category models
 * @since 0.1.0
 */
export type Algorithm = "token-bucket" | "leaky-bucket" | "fixed-window" | "sliding-counter" | "sliding-log"

/** All algorithms. */
export const algorithms: ReadonlyArray<Algorithm> = [
  "token-bucket",
  "leaky-bucket",
  "fixed-window",
  "sliding-counter",
  "sliding-log"
]

/** The longest life of a key in a store, and so of a hold, in milliseconds: ten years. */
export const longestLife = 10 * 365 * 24 * 3_600_000

/** What a limit is, checked and with what follows from it; plain data. Times are milliseconds. */
export interface Spec {
  readonly algorithm: Algorithm
  /** Weight for each window. */
  readonly limit: number
  readonly window: number
  /** Weight that may be taken at once; the limit, but for a token bucket. */
  readonly burst: number
  /** Time of use until the rate is full, zero for none. Of a bucket only. */
  readonly warmUp: number
  /** Time for one unit of weight at the full rate. */
  readonly interval: number
  /** Time for a whole burst at the full rate. */
  readonly capacity: number
}

export const make = (fields: Omit<Spec, "interval" | "capacity">): Spec => {
  const interval = fields.window / fields.limit
  return { ...fields, interval, capacity: fields.burst * interval }
}

// Sums of fractions of a millisecond, or of a unit of weight, are compared with so much slack.
export const epsilon = 1e-3
export const weightEpsilon = 1e-9

/** Slack in what flows back with time is worth no more than this share of a unit, however fast that is. */
export const slackShare = 0.01

/** Milliseconds by which weight may be taken too soon. */
export const slackOf = ({ interval }: Spec): number => Math.min(epsilon, interval * slackShare)

/**
 * How much before its time a paced call may go: not quite a millisecond, the
 * grain of timers. A timer that was set for a fraction of one would otherwise
 * be late each time, and a rate of 300 a second become one of 250. Whole
 * milliseconds are kept to the full.
 */
export const tolerance = 1 - 2 * epsilon

/** So many reservations a bucket tells apart; what it gives back of more may turn out a little smaller. */
export const maxMarks = 512
