/** What a store of rate limits is asked and answers; the stores themselves stand beside it. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Outcome from "../../Outcome.ts"
import type * as spec from "./spec.ts"

/**
 * A limit, checked, with times in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Spec = spec.Spec

/**
 * What a store says to a request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decision {
  /** How many of the weights were admitted, from the first on. */
  readonly admitted: number
  /** Weight that was taken beyond those. */
  readonly extra: number
  /** Milliseconds until the first one that was not admitted could be; zero when all were, infinity when never. */
  readonly wait: number
  /** Whether the key is blocked: calls are rejected and do not wait. */
  readonly blocked: boolean
  /** Weight that may still be taken now; below zero when some is owed. */
  readonly remaining: number
  /** Milliseconds until the key is as good as new, when nothing more is taken. */
  readonly reset: number
  /** The time of the decision on the store's clock, which `giveBack` takes. */
  readonly at: number
}

/**
 * What is asked of a store in one request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  /** Weights in the order in which they are to be admitted; the first that does not fit ends it. */
  readonly weights: ReadonlyArray<number>
  /** Weight to take besides, once all of those are admitted: whole units, and as many as there are. */
  readonly extra: number
  /** Whether what is taken may be given back much later, which a bucket must remember. */
  readonly marked: boolean
}

/**
 * The store of shared rate limits.
 *
 * **Details**
 *
 * Each method is one step at the store; times are its own clock's. A stored
 * limit follows the `spec` of the request: another limit or window keeps what
 * was taken, another algorithm starts empty.
 *
 * @category services
 * @since 0.1.0
 */
export class RateLimiterStore extends Context.Service<RateLimiterStore, {
  /** Admits as many of the weights, in their order, as fit now. */
  readonly take: (key: string, spec: Spec, request: Request) => Effect.Effect<Decision, RateLimiterStoreError>
  /** What `take` of one weight would say, while nothing is taken. */
  readonly peek: (key: string, spec: Spec, weight: number) => Effect.Effect<Decision, RateLimiterStoreError>
  /** Takes the weight in any case; what exceeds the limit is owed. */
  readonly charge: (key: string, spec: Spec, weight: number) => Effect.Effect<void, RateLimiterStoreError>
  /** Gives back what was taken at that time, as far as it still counts. */
  readonly giveBack: (
    key: string,
    spec: Spec,
    weight: number,
    at: number
  ) => Effect.Effect<void, RateLimiterStoreError>
  /** Gives back the weight, at most all that counts now. */
  readonly reward: (key: string, spec: Spec, weight: number) => Effect.Effect<void, RateLimiterStoreError>
  /** Admits nothing for `millis` milliseconds; a longer hold of the same kind wins. */
  readonly hold: (key: string, kind: Hold, millis: number) => Effect.Effect<void, RateLimiterStoreError>
  /** Ends a hold. */
  readonly release: (key: string, kind: Hold) => Effect.Effect<void, RateLimiterStoreError>
}>()("@ballast/resilience/RateLimiterStore") {}

/**
 * How a key is held: `pause` lets calls wait until it is over, `block` rejects
 * them.
 *
 * @category models
 * @since 0.1.0
 */
export type Hold = "pause" | "block"

/**
 * The store gave no answer, or an error.
 *
 * **Details**
 *
 * Whether something was taken is not known. It says nothing about the
 * dependency that the limit protects.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimiterStoreError extends Schema.TaggedError<RateLimiterStoreError>()("RateLimiterStoreError", {
  operation: Schema.String,
  cause: Schema.Defect(),
  /** What to do, where something can be done. */
  detail: Schema.optional(Schema.String)
}) {
  override get message() {
    return `The store of rate limits failed to ${this.operation}${this.detail === undefined ? "" : `: ${this.detail}`}`
  }

  get [Outcome.key](): Outcome.Outcome {
    return Outcome.ignored({ retryable: true, executed: false })
  }
}
