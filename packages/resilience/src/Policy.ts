/**
 * A policy is a function on programs: it takes an effect or a stream and gives
 * one back that behaves better, with the policy's own errors added to the
 * channel and the program's errors left as they are.
 *
 * Policies compose like functions. `compose` nests them, first is outermost, and
 * `common` builds the usual stack in the order in which its parts make sense
 * together. `switchable` puts a switch on a policy.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as ConcurrencyLimit from "./ConcurrencyLimit.ts"
import * as Deadline from "./Deadline.ts"
import * as Hedge from "./Hedge.ts"
import * as check from "./internal/check.ts"
import * as Breaking from "./internal/circuit/settings.ts"
import * as Events from "./internal/events.ts"
import { compose, identity, isPolicy, make, type Policy } from "./internal/policy.ts"
import type * as Outcome from "./Outcome.ts"
import * as RateLimiter from "./RateLimiter.ts"
import * as Retry from "./Retry.ts"
import type { RetryBudget } from "./RetryBudget.ts"

export { compose, identity, isPolicy, make, type Policy }

/**
 * The parts of the common stack; a part that is left out is not in it.
 *
 * **Details**
 *
 * A part takes options, or a policy made before: to read its state, to share it
 * or to switch it. `P` is what such policies reject with. `Seen` is what the predicates
 * of the parts are asked about: the errors of the programs, and what the stack adds.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommonOptions<P = never, in Seen = unknown> extends Deadline.ItemOptions, Deadline.AttemptLimits {
  /** Name of every part that has none of its own. Default `"default"`. */
  readonly name?: string | undefined
  /** Time for the call with all its waits and attempts, above zero. */
  readonly total?: Duration.Input | undefined
  /** Its budget is one of its own options. */
  readonly retry?: Retry.Options<Seen> | Policy<never, Seen> | undefined
  readonly hedge?: Hedge.Options<Seen> | Policy<P, Seen> | undefined
  /** Its `window` is at least twice `attempt`; left out, it is 10 seconds or as long as that, and `probeTimeout` 5 minutes likewise. */
  readonly circuitBreaker?:
    | CircuitBreaker.Options<Seen>
    | CircuitBreaker.CircuitBreaker<Seen>
    | Policy<P, Seen>
    | undefined
  readonly rateLimiter?: RateLimiter.Options | RateLimiter.RateLimiter | Policy<P, Seen> | undefined
  /** An `AdaptiveLimit` made before will do as well. */
  readonly concurrencyLimit?:
    | ConcurrencyLimit.Options
    | Policy<ConcurrencyLimit.QueueFull | ConcurrencyLimit.QueueTimeout, Seen>
    | Policy<P, Seen>
    | undefined
  /** Judges a finished attempt, for retry and breaker alike. Default `Outcome.classify`. */
  readonly classify?: Outcome.Classifier<Seen> | undefined
}

/**
 * The parts of a common stack that can be read and changed; what is not in it is
 * undefined.
 *
 * **Details**
 *
 * Only parts that `common` made are here: the caller has the handle of a part
 * that it gave. `retryBudget` is the budget in the retry's options.
 *
 * @category models
 * @since 0.1.0
 */
export interface Parts<in Seen = unknown> {
  readonly retry: Retry.Retry<Seen> | undefined
  readonly retryBudget: RetryBudget | undefined
  readonly hedge: Hedge.Hedge<Seen> | undefined
  readonly circuitBreaker: CircuitBreaker.CircuitBreaker<Seen> | undefined
  readonly rateLimiter: RateLimiter.RateLimiter | undefined
  readonly concurrencyLimit: ConcurrencyLimit.ConcurrencyLimit | undefined
  readonly attemptDeadline: Deadline.Deadline<unknown, Deadline.AttemptSettings> | undefined
}

/**
 * The common stack as a policy, with the handles of its parts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Common<out E, in In = unknown> extends Policy<E, In> {
  readonly parts: Parts<In>
  /** Its total deadline alone, and all that is inside that, for what has to stand between the two. */
  readonly total: Policy<E>
  readonly inner: Policy<E>
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
 * Creates the common stack of policies, with the handles of its parts beside it.
 *
 * **Details**
 *
 * From the outside in:
 *
 * 1. *total deadline*, so that it bounds every wait and attempt below;
 * 2. *retry*, so that each attempt passes everything below anew;
 * 3. *hedge*, so that each of its attempts is admitted by everything below;
 * 4. *circuit breaker*, so that an open circuit costs no token and no slot;
 * 5. *rate limiter*, so that a call waits for its token without holding a slot;
 * 6. *concurrency limit*, held by calls that run and no others;
 * 7. *attempt deadlines* (attempt, first item, idle, least rate), which count no
 *    queueing.
 *
 * Rejections by 4 to 6 are not retried: they end the call with the time to come
 * back, where that is known. What changes the answer (fallback) or needs a key
 * (cache, single flight) goes around it.
 *
 * Throws a `RangeError` when an option of a part is out of its bounds, and when
 * a time that was given can't be meant:
 *
 * - a time inside that is longer than the one around it, or a hedge's `delay`
 *   that is no shorter. An infinite wait or delay is no such time. Against
 *   `attempt`, which counts no queueing, `hedge.delay` and `slowAfter` are held
 *   only where nothing inside queues, and `hedge.delay` not beside a `percentile`;
 * - a breaker's time window, its own or that of its trip rule, that is shorter
 *   than two attempts: of a dependency that hangs it would see too little;
 * - a `probeTimeout` that is no longer than `attempt`: a probe that hangs would
 *   never count.
 *
 * A policy made before is not looked into.
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
export function common<E, P = never, In = unknown>(
  options: CommonOptions<P, In | Rejection | NoInfer<P | E>> & Deadline.ErrorOption<E>
): Effect.Effect<Common<Rejection | P | E, In>>
export function common<P = never, In = unknown>(
  options: CommonOptions<P, In | Rejection | NoInfer<P> | Deadline.DeadlineExceeded>
): Effect.Effect<Common<Rejection | P | Deadline.DeadlineExceeded, In>>
export function common<E, P = never>(
  options: CommonOptions<P, never> & Partial<Deadline.ErrorOption<E>>
): Effect.Effect<Common<Rejection | P | E | Deadline.DeadlineExceeded, never>> {
  const { classify, name } = options
  const part = <O extends object, E2, H extends Policy<E2, never>>(
    given: O | Policy<E2, never> | Policy<P, never> | undefined,
    make: (options: O) => Effect.Effect<H>
  ): Effect.Effect<Part<E2 | P, H>> => {
    if (given === undefined) return Effect.succeed({ policy: identity, handle: undefined })
    if (isMade<O, E2 | P>(given)) return Effect.succeed({ policy: given, handle: undefined })
    return Effect.map(make({ name, classify, ...given }), (made) => ({ policy: made, handle: made }))
  }
  const total = totalOf(options)
  const attempt = attemptOf(options)
  const parts = Effect.all([
    part<Retry.Options<never>, never, Retry.Retry<never>>(options.retry, (retry) => Effect.succeed(Retry.make(retry))),
    part<Hedge.Options<never>, never, Hedge.Hedge<never>>(options.hedge, Hedge.make),
    part<CircuitBreaker.Options<never>, CircuitBreaker.CircuitOpen, CircuitBreaker.CircuitBreaker<never>>(
      breakerOf(options),
      CircuitBreaker.make
    ),
    part<RateLimiter.Options, RateLimiter.RateLimitExceeded, RateLimiter.RateLimiter>(
      options.rateLimiter,
      RateLimiter.make
    ),
    part<
      ConcurrencyLimit.Options,
      ConcurrencyLimit.QueueFull | ConcurrencyLimit.QueueTimeout,
      ConcurrencyLimit.ConcurrencyLimit
    >(options.concurrencyLimit, ConcurrencyLimit.make)
  ])
  // After the parts: what is nonsense for one of them alone is refused in its own words.
  refuseNonsense(options)
  const retryBudget = optionsOf<Retry.Options<never>>(options.retry)?.budget
  return Effect.map(parts, ([retry, hedge, circuitBreaker, rateLimiter, concurrencyLimit]) => {
    const nested = [retry, hedge, circuitBreaker, rateLimiter, concurrencyLimit].map(({ policy }) => policy)
    const inner = compose(...nested, attempt ?? identity)
    return Object.assign(compose(total, inner), {
      total,
      inner,
      parts: {
        retry: retry.handle,
        retryBudget,
        hedge: hedge.handle,
        circuitBreaker: circuitBreaker.handle,
        rateLimiter: rateLimiter.handle,
        concurrencyLimit: concurrencyLimit.handle,
        attemptDeadline: attempt
      }
    })
  })
}

/** A part, and its handle if it was made here. */
interface Part<E, H> {
  readonly policy: Policy<E, never>
  readonly handle: H | undefined
}

const isMade = <O extends object, E>(given: O | Policy<E, never>): given is Policy<E, never> => isPolicy(given)

const totalOf = <E>(
  { cooperative, error, name, total }: CommonOptions<unknown, never> & Partial<Deadline.ErrorOption<E>>
): Policy<E | Deadline.DeadlineExceeded> => {
  if (total === undefined) return identity
  return error === undefined
    ? Deadline.total(total, { name, cooperative })
    : Deadline.total(total, { name, cooperative, error })
}

const attemptOf = <E>(
  options: CommonOptions<unknown, never> & Partial<Deadline.ErrorOption<E>>
): Deadline.Deadline<E | Deadline.DeadlineExceeded, Deadline.AttemptSettings> | undefined => {
  const { attempt, cooperative, error, firstItem, idle, leastRate, name, progress } = options
  if ([attempt, firstItem, idle, leastRate].every((limit) => limit === undefined)) return undefined
  const limits = { attempt, cooperative, firstItem, idle, leastRate, name, progress }
  return error === undefined ? Deadline.make(limits) : Deadline.make({ ...limits, error })
}

/** The breaker, with a window that sees at least two attempts, unless it says how it trips, and probes that may take as long. */
const breakerOf = <P>(
  { attempt, circuitBreaker }: CommonOptions<P, never>
): CommonOptions<P, never>["circuitBreaker"] => {
  const given = optionsOf<CircuitBreaker.Options<never>>(circuitBreaker)
  if (given === undefined || attempt === undefined) return circuitBreaker
  const atLeastTwice = (usual: Duration.Input) => Math.max(2 * Duration.toMillis(attempt), Duration.toMillis(usual))
  const { probeTimeout, trip, window } = given
  return {
    ...given,
    window: trip === undefined ? window ?? atLeastTwice(Breaking.defaults.window) : window,
    probeTimeout: probeTimeout ?? atLeastTwice(Breaking.defaults.probeTimeout)
  }
}

/** The longest stretch of time that decides alone, in milliseconds; infinite where calls are counted whenever they end. */
const longestWindow = (trip: CircuitBreaker.Trip | undefined): number => {
  switch (trip?._tag) {
    case "TimeWindow":
      return trip.window
    case "AnyOf":
      return Math.max(...trip.trips.map(longestWindow))
    case "AllOf":
      return Math.min(...trip.trips.map(longestWindow))
    default:
      return Infinity
  }
}

/** The options of a part; none of a policy made before. */
const optionsOf = <O extends object>(given: O | Policy<unknown, never> | undefined): O | undefined =>
  given === undefined || isMade<O, unknown>(given) ? undefined : given

const where = "Policy.common"

const millis = (input: Duration.Input | undefined) => input === undefined ? undefined : Duration.toMillis(input)

const refuseNonsense = (options: CommonOptions<unknown, never>): void => {
  const total = millis(options.total)
  const bound = (field: string, input: Duration.Input | undefined) =>
    check.notLonger(where, field, millis(input), "total", total)
  const boundWait = (field: string, input: Duration.Input | undefined) => {
    // An infinite wait is one without a bound of its own.
    if (millis(input) !== Infinity) bound(field, input)
  }
  bound("attempt", options.attempt)
  bound("firstItem", options.firstItem)
  bound("idle", options.idle)
  bound("leastRate.window", options.leastRate?.window)
  boundWait("retry.maxElapsed", optionsOf<Retry.Options<never>>(options.retry)?.maxElapsed)
  boundWait("rateLimiter.maxWait", optionsOf<RateLimiter.Options>(options.rateLimiter)?.maxWait)
  boundWait("concurrencyLimit.maxWait", optionsOf<ConcurrencyLimit.Options>(options.concurrencyLimit)?.maxWait)
  const hedge = optionsOf<Hedge.Options<never>>(options.hedge)
  if (hedge !== undefined) refuseLateHedge(options, hedge)
  const breaker = optionsOf<CircuitBreaker.Options<never>>(options.circuitBreaker)
  if (breaker !== undefined) refuseBlindBreaker(options, breaker)
}

/** An infinite delay is meant; beside a percentile it holds only until that is measured. */
const refuseLateHedge = (options: CommonOptions<unknown, never>, { delay, percentile }: Hedge.Options<never>): void => {
  const least = millis(delay)
  if (least === Infinity) return
  check.shorter(where, "hedge.delay", least, "total", millis(options.total))
  if (percentile === undefined) check.shorter(where, "hedge.delay", least, "attempt", attemptAlone(options))
}

const refuseBlindBreaker = (options: CommonOptions<unknown, never>, breaker: CircuitBreaker.Options<never>): void => {
  const attempt = millis(options.attempt)
  const slowAfter = millis(breaker.slowAfter)
  check.notLonger(where, "circuitBreaker.slowAfter", slowAfter, "total", millis(options.total))
  check.notLonger(where, "circuitBreaker.slowAfter", slowAfter, "attempt", attemptAlone(options))
  check.longer(where, "circuitBreaker.probeTimeout", millis(breaker.probeTimeout), "attempt", attempt)
  if (attempt !== undefined) refuseShortWindow(breaker, 2 * attempt)
}

/** How long what stands around the queues sees an attempt take, where nothing inside queues. */
const attemptAlone = (options: CommonOptions<unknown, never>): number | undefined =>
  mayQueue(options) ? undefined : millis(options.attempt)

/** Whether a call may wait for a token or a slot; unknown for a limit made before. */
const mayQueue = ({ concurrencyLimit, rateLimiter }: CommonOptions<unknown, never>): boolean => {
  const line = rateLimiter === undefined ? { maxWait: 0 } : optionsOf<RateLimiter.Options>(rateLimiter)
  const slots = concurrencyLimit === undefined ? { queue: 0 } : optionsOf<ConcurrencyLimit.Options>(concurrencyLimit)
  return line === undefined || slots === undefined ||
    Duration.toMillis(line.maxWait ?? 0) > 0 || (slots.queue ?? 0) > 0
}

const refuseShortWindow = ({ trip, window }: CircuitBreaker.Options<never>, least: number): void => {
  const longest = millis(window) ?? longestWindow(trip)
  if (longest >= least) return
  const format = (millis: number) => Duration.format(Duration.millis(millis))
  check.refuse(
    where,
    window === undefined ? "the window of circuitBreaker.trip" : "circuitBreaker.window",
    `at least twice attempt (${format(least)})`,
    format(longest)
  )
}

/**
 * A policy with a switch.
 *
 * @category models
 * @since 0.1.0
 */
export interface Switchable<out E> extends Policy<E> {
  /** Switches it, for calls that begin from now on; those under way keep what they began with. */
  readonly set: (on: boolean) => Effect.Effect<void>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<SwitchState>
  /** What happens from the subscription on. */
  readonly events: Stream.Stream<SwitchEvent>
}

/**
 * The state of a switch.
 *
 * @category models
 * @since 0.1.0
 */
export interface SwitchState {
  readonly on: boolean
}

/**
 * The switch was turned.
 *
 * @category models
 * @since 0.1.0
 */
export interface SwitchEvent {
  readonly _tag: "Switched"
  readonly on: boolean
}

/**
 * Puts a switch on a policy, which is on at first unless told otherwise.
 *
 * **Details**
 *
 * While it is off, a call runs as if the policy were not there. A call looks at
 * the switch once, when it begins; a stream when it is opened.
 *
 * **Example** (Switching hedging off in an incident)
 *
 * ```ts
 * import { Hedge, Policy } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const hedge = yield* Policy.switchable(yield* Hedge.make({ delay: "50 millis" }))
 *   yield* hedge.set(false)
 *   return yield* hedge(Effect.succeed("answer"))
 * })
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const switchable = <E>(policy: Policy<E>, on = true): Effect.Effect<Switchable<E>> =>
  Effect.sync(() => {
    let isOn = on
    const events = Events.make<SwitchEvent>()
    const switched = make<E>({
      effect: (self) => {
        const guarded = policy(self)
        return Effect.suspend(() => isOn ? guarded : self)
      },
      stream: (self) => {
        const guarded = policy.stream(self)
        return Stream.suspend(() => isOn ? guarded : self)
      }
    })
    const set = (on: boolean) =>
      Effect.sync(() => {
        if (on !== isOn && events.active) events.publish({ _tag: "Switched", on })
        isOn = on
      })
    return Object.assign(switched, {
      set,
      inspect: Effect.sync((): SwitchState => ({ on: isOn })),
      events: events.stream
    })
  })
