/**
 * A policy is a function on programs: it takes an effect or a stream and gives
 * one back that behaves better, with the policy's own errors added to the
 * channel and the program's errors left as they are.
 *
 * Policies compose like functions. `compose` nests them, first is outermost, and
 * `common` builds the usual stack in the order in which its parts make sense
 * together.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as ConcurrencyLimit from "./ConcurrencyLimit.ts"
import * as Deadline from "./Deadline.ts"
import * as check from "./internal/check.ts"
import { compose, identity, isPolicy, make, type Policy } from "./internal/policy.ts"
import type * as Outcome from "./Outcome.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"

export { compose, identity, isPolicy, make, type Policy }

/**
 * The parts of the common stack; a part that is left out is not in it.
 *
 * **Details**
 *
 * A part takes options, or a policy made before, for whoever wants to read its
 * state or to share it.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommonOptions extends Deadline.ItemOptions, Deadline.AttemptLimits {
  /** Name of every part that has none of its own. Default `"default"`. */
  readonly name?: string | undefined
  /** Time for the call with all its waits and attempts, above zero. */
  readonly total?: Duration.Input | undefined
  readonly retry?: Retry.Options | Policy<never> | undefined
  readonly circuitBreaker?: CircuitBreaker.Options | CircuitBreaker.CircuitBreaker | undefined
  readonly rateLimiter?: RateLimiter.Options | RateLimiter.RateLimiter | undefined
  readonly concurrencyLimit?: ConcurrencyLimit.Options | ConcurrencyLimit.ConcurrencyLimit | undefined
  /** Judges a finished attempt, for retry and breaker alike. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier | undefined
}

/**
 * The rejections that the common stack may add.
 *
 * @category errors
 * @since 0.1.0
 */
export type Rejection =
  | CircuitBreaker.CircuitOpen
  | RateLimiter.RateLimitExceeded
  | ConcurrencyLimit.QueueFull
  | ConcurrencyLimit.QueueTimeout

/**
 * Creates the common stack of policies.
 *
 * **Details**
 *
 * From the outside in:
 *
 * 1. *total deadline*, so that it bounds every wait and attempt below;
 * 2. *retry*, so that each attempt passes everything below anew;
 * 3. *circuit breaker*, so that an open circuit costs no token and no slot;
 * 4. *rate limiter*, so that a call waits for its token without holding a slot;
 * 5. *concurrency limit*, held by calls that run and no others;
 * 6. *attempt deadlines* (attempt, first item, idle), which count no queueing.
 *
 * Rejections by 3 to 5 are not retried: they end the call with the time to come
 * back, where that is known.
 *
 * Throws a `RangeError` when an option of a part is out of its bounds, and when
 * a deadline inside is longer than the one around it.
 *
 * **Example** (Guarding a call)
 *
 * ```ts
 * import { Policy } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const policy = yield* Policy.common({
 *     name: "catalogue",
 *     total: "30 seconds",
 *     retry: { times: 3 },
 *     circuitBreaker: {},
 *     concurrencyLimit: { limit: 50, queue: 100 },
 *     attempt: "5 seconds"
 *   })
 *   return yield* policy(Effect.succeed("answer"))
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export function common(options: CommonOptions): Effect.Effect<Policy<Rejection | Deadline.DeadlineExceeded>>
export function common<E>(options: CommonOptions & Deadline.ErrorOption<E>): Effect.Effect<Policy<Rejection | E>>
export function common<E>(
  options: CommonOptions & Partial<Deadline.ErrorOption<E>>
): Effect.Effect<Policy<Rejection | E | Deadline.DeadlineExceeded>> {
  const { classify, name } = options
  const part = <O extends object, E2>(
    given: O | Policy<E2> | undefined,
    make: (options: O) => Effect.Effect<Policy<E2>>
  ): Effect.Effect<Policy<E2>> => {
    if (given === undefined) return Effect.succeed(identity)
    return isMade(given) ? Effect.succeed(given) : make({ name, classify, ...given })
  }
  const total = totalOf(options)
  const attempt = attemptOf(options)
  refuseNonsense(options)
  return Effect.map(
    Effect.all([
      part(options.retry, (retry) => Effect.succeed(Retry.make(retry))),
      part(options.circuitBreaker, CircuitBreaker.make),
      part(options.rateLimiter, RateLimiter.make),
      part(options.concurrencyLimit, ConcurrencyLimit.make)
    ]),
    ([retry, circuitBreaker, rateLimiter, concurrencyLimit]) =>
      compose(total, retry, circuitBreaker, rateLimiter, concurrencyLimit, attempt)
  )
}

const isMade = <O extends object, E>(given: O | Policy<E>): given is Policy<E> => isPolicy(given)

const totalOf = <E>(
  { cooperative, error, name, total }: CommonOptions & Partial<Deadline.ErrorOption<E>>
): Policy<E | Deadline.DeadlineExceeded> => {
  if (total === undefined) return identity
  return error === undefined
    ? Deadline.total(total, { name, cooperative })
    : Deadline.total(total, { name, cooperative, error })
}

const attemptOf = <E>(
  options: CommonOptions & Partial<Deadline.ErrorOption<E>>
): Policy<E | Deadline.DeadlineExceeded> => {
  const { attempt, cooperative, error, firstItem, idle, name, progress } = options
  if (attempt === undefined && firstItem === undefined && idle === undefined) return identity
  const limits = { attempt, cooperative, firstItem, idle, name, progress }
  return error === undefined ? Deadline.make(limits) : Deadline.make({ ...limits, error })
}

const refuseNonsense = ({ attempt, firstItem, idle, total }: CommonOptions): void => {
  const where = "Policy.common"
  const millis = (input: Duration.Input | undefined) => input === undefined ? undefined : Duration.toMillis(input)
  check.notLonger(where, "attempt", millis(attempt), "total", millis(total))
  check.notLonger(where, "firstItem", millis(firstItem), "total", millis(total))
  check.notLonger(where, "idle", millis(idle), "total", millis(total))
}
