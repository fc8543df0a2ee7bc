/**
 * How one finished call is judged, as a value.
 *
 * Retry asks whether another try makes sense, the circuit breaker asks whether
 * the dependency is at fault; both read the same `Outcome`, so one classifier
 * serves every policy. An error may carry its own judgement under `key`, which
 * keeps the knowledge of what may be retried beside the error itself.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Exit from "effect/Exit"
import type * as EffectBreaker from "effect/persistence/CircuitBreaker"
import type * as EffectLimiter from "effect/persistence/RateLimiter"
import { hasProperty } from "effect/Predicate"

/**
 * The judgement of one call: it succeeded, the dependency failed, or it says
 * nothing about the dependency.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = Success | Failure | Ignored

/**
 * The dependency answered as it should.
 *
 * **Details**
 *
 * `slow` says that it took too long all the same; undefined leaves that to
 * whoever measures the time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Success {
  readonly _tag: "Success"
  readonly slow?: boolean | undefined
}

/**
 * The dependency is at fault: the call counts against it. `slow` as in
 * `Success`; `retryAfter` is the dependency's own hint of when to come back.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failure {
  readonly _tag: "Failure"
  readonly retryable: boolean
  readonly slow?: boolean | undefined
  readonly retryAfter?: Duration.Duration | undefined
  /** `false` when the dependency certainly did not begin to carry the call out, so that even a call that must not run twice may be repeated. */
  readonly executed?: boolean | undefined
}

/**
 * The call says nothing about the dependency: the caller's own mistake, an
 * interruption, or a rejection by a policy.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ignored {
  readonly _tag: "Ignored"
  readonly retryable: boolean
  readonly retryAfter?: Duration.Duration | undefined
  /** As in `Failure`; a rejection by a policy says `false`. */
  readonly executed?: boolean | undefined
}

/**
 * The key under which an error carries its own judgement.
 *
 * **Example** (Judging an error where it is defined)
 *
 * ```ts
 * import { Outcome } from "@ballast/resilience"
 * import { Data } from "effect"
 *
 * class NotFound extends Data.TaggedError("NotFound")<{ readonly id: string }> {
 *   get [Outcome.key]() {
 *     return Outcome.ignored()
 *   }
 * }
 * ```
 *
 * @category keys
 * @since 0.1.0
 */
export const key: unique symbol = Symbol.for("@ballast/resilience/Outcome")

/**
 * An error that carries its own judgement.
 *
 * @category models
 * @since 0.1.0
 */
export interface Judged {
  readonly [key]: Outcome
}

/**
 * Returns whether a value carries its own judgement.
 *
 * @category guards
 * @since 0.1.0
 */
export const isJudged = (u: unknown): u is Judged => hasProperty(u, key)

/**
 * Judges an exit of a call that fails with `E`.
 *
 * @category models
 * @since 0.1.0
 */
export type Classifier<in E = unknown> = (exit: Exit.Exit<unknown, E>) => Outcome

/**
 * The outcome of a call that the dependency answered.
 *
 * @category constructors
 * @since 0.1.0
 */
export const success: Outcome = { _tag: "Success" }

/**
 * The outcome of a call that the dependency answered, but too late to count as
 * well served.
 *
 * @category constructors
 * @since 0.1.0
 */
export const slowSuccess: Outcome = { _tag: "Success", slow: true }

/**
 * Creates the outcome of a call that the dependency failed.
 *
 * **Details**
 *
 * `retryable` defaults to `true`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const failure = (options?: {
  readonly retryable?: boolean | undefined
  readonly retryAfter?: Duration.Duration | undefined
  readonly slow?: boolean | undefined
  readonly executed?: boolean | undefined
}): Outcome => ({
  _tag: "Failure",
  retryable: options?.retryable ?? true,
  retryAfter: options?.retryAfter,
  slow: options?.slow,
  executed: options?.executed
})

/**
 * Creates the outcome of a call that says nothing about the dependency.
 *
 * **Details**
 *
 * `retryable` defaults to `false`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ignored = (options?: {
  readonly retryable?: boolean | undefined
  readonly retryAfter?: Duration.Duration | undefined
  readonly executed?: boolean | undefined
}): Outcome => ({
  _tag: "Ignored",
  retryable: options?.retryable ?? false,
  retryAfter: options?.retryAfter,
  executed: options?.executed
})

const interrupted = ignored()
const defect = failure({ retryable: false })
const unjudged = failure()
const storeFailed = ignored({ retryable: true, executed: false })

// Checked as types alone, so that neither module is loaded.
const limiterError: EffectLimiter.ErrorTypeId = "~effect/persistence/RateLimiter/RateLimiterError"
const breakerError: EffectBreaker.ErrorTypeId = "~effect/persistence/CircuitBreaker/CircuitBreakerError"

/** Whether it is what a limiter or breaker of Effect's kind rejected a call with; such errors know nothing of `key`. */
const isEffectRejection = (u: unknown): u is EffectLimiter.RateLimiterError | EffectBreaker.CircuitBreakerError =>
  hasProperty(u, limiterError) || hasProperty(u, breakerError)

/** As those of our own limiter and breaker are judged. */
const rejectionOutcome = (
  { reason }: EffectLimiter.RateLimiterError | EffectBreaker.CircuitBreakerError
): Outcome => {
  switch (reason._tag) {
    case "RateLimitExceeded":
    case "CircuitOpen":
      return ignored({ retryAfter: reason.retryAfter, executed: false })
    case "CircuitHalfOpen":
      return ignored({ executed: false })
    case "RateLimitStoreError":
    case "CircuitBreakerStoreError":
      return storeFailed
  }
}

const errorOutcome = (error: unknown): Outcome => {
  if (isJudged(error)) return error[key]
  return isEffectRejection(error) ? rejectionOutcome(error) : unjudged
}

/**
 * Judges an exit the default way.
 *
 * **Details**
 *
 * | exit | outcome |
 * |---|---|
 * | success | `Success` |
 * | a defect, alone or beside an error | `Failure`, not retryable |
 * | an error that carries `key` | what it says |
 * | a rejection by Effect's own `RateLimiter` or `CircuitBreaker` | `Ignored`, retryable when their store failed |
 * | any other error | `Failure`, retryable |
 * | nothing but interruption | `Ignored`, not retryable |
 *
 * @category classifiers
 * @since 0.1.0
 */
export const classify: Classifier = (exit) => {
  if (exit._tag === "Success") return success
  let outcome: Outcome | undefined
  for (const reason of exit.cause.reasons) {
    if (reason._tag === "Die") return defect
    if (reason._tag === "Fail" && outcome === undefined) {
      outcome = errorOutcome(reason.error)
    }
  }
  return outcome ?? interrupted
}

/**
 * Options of a classifier.
 *
 * @category options
 * @since 0.1.0
 */
export interface ClassifierOptions<in E = unknown> {
  /**
   * Judges the error of a call that failed; `undefined` leaves it to `otherwise`. It is not asked about a call that died, nor about an
   * error that itself says to ignore it, as every rejection by a policy does. Default: leaves all.
   */
  readonly error?: ((error: E) => Outcome | undefined) | undefined
  /** Judges the result of a call that succeeded, `undefined` for a stream; `undefined` leaves it to `otherwise`. Default: leaves all. */
  readonly result?: ((result: unknown) => Outcome | undefined) | undefined
  /** Judges the rest. Default `classify`. */
  readonly otherwise?: Classifier<E> | undefined
}

/**
 * Creates a classifier that knows some errors and results, and leaves the rest
 * to another one.
 *
 * **When to use**
 *
 * Use it for errors of others, which can't carry `key`, and for results that
 * tell of a failure, such as an answer with a status.
 *
 * **Example** (Judging an answer by its status)
 *
 * ```ts
 * import { Outcome, Retry } from "@ballast/resilience"
 * import { hasProperty, isTagged } from "effect/Predicate"
 *
 * const classify = Outcome.classifier({
 *   error: (error) => isTagged(error, "NotFound") ? Outcome.ignored() : undefined,
 *   result: (answer) => hasProperty(answer, "status") && answer.status === 503 ? Outcome.failure() : undefined
 * })
 *
 * const retry = Retry.make({ classify })
 * ```
 *
 * @category classifiers
 * @since 0.1.0
 */
export const classifier = <E = unknown>(options: ClassifierOptions<E>): Classifier<E> => {
  const { error, otherwise = classify, result } = options
  return (exit) => {
    if (exit._tag === "Success") return result?.(exit.value) ?? otherwise(exit)
    const { reasons } = exit.cause
    const fail = error === undefined || reasons.some((reason) => reason._tag === "Die")
      ? undefined
      : reasons.find((reason) => reason._tag === "Fail")
    // A rejection by a policy inside says nothing about the dependency, whatever all other errors say.
    if (fail === undefined || errorOutcome(fail.error)._tag === "Ignored") return otherwise(exit)
    return error?.(fail.error) ?? otherwise(exit)
  }
}
