/**
 * What is known of a round of calls: about as many as fit into one round trip,
 * or one that was dropped.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sample {
  /** When it was taken, in monotonic milliseconds. */
  readonly at: number
  /**
   * How long the calls took that started and succeeded in the round, on average
   * in milliseconds; undefined when there were none.
   */
  readonly rtt: number | undefined
  /** The most slots that were taken at the same time. */
  readonly inFlight: number
  /** Whether a call was dropped: the dependency is overloaded. */
  readonly dropped: boolean
  /** The limit that the dependency itself has stated, if it has. */
  readonly stated: number | undefined
}

/**
 * What the next limit must keep to. When the slots are under-used, or a call was
 * dropped, `max` is the limit that holds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bounds {
  readonly min: number
  readonly max: number
}

/**
 * What an algorithm has learnt so far, as a value: each sample gives the next
 * one. A limit may be a fraction, which is rounded down where it is used.
 *
 * @category models
 * @since 0.1.0
 */
export interface Learner {
  readonly limit: number
  readonly learn: (sample: Sample, bounds: Bounds) => Learner
  /** Goes on under bounds that were changed by hand. Left out, a limit beyond them starts anew. */
  readonly bound?: ((bounds: Bounds) => Learner) | undefined
}

/**
 * How a limit is learnt.
 *
 * @category models
 * @since 0.1.0
 */
export interface Algorithm {
  readonly name: string
  /** Begins with a limit. */
  readonly start: (limit: number) => Learner
}

export const clamp = (limit: number, { max, min }: Bounds): number => Math.max(min, Math.min(max, limit))
